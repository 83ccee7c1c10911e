# To be sourced: what a step costs.

# Seconds that a core has worked so far for processes of this shell that have ended: in `work_done`. Takes a file to write to, since `times` of
# a subshell knows none of them.
count_work() {
    times >"$1"
    work_done=$(awk 'NR == 2 { split($1, user, /[ms]/); split($2, kernel, /[ms]/); printf "%d", 60 * (user[1] + kernel[1]) + user[2] + kernel[2] }' "$1")
}
