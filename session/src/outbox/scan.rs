//! Where a claim looks: from which number on, how far, and in whose share of the keys.
//!
//! What is remembered here makes claims cheap and never decides what may be claimed: that is asked of the table.

use parking_lot::Mutex;

use super::share::Share;

/// The largest window is so many times the batch, except where a run begins behind it.
const WIDEST: usize = 16;

/// Where one claim looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    /// Only these keys; all of them otherwise.
    pub(crate) share: Option<Share>,
    /// Only above this number.
    pub(crate) floor: i64,
    /// At most so many due events.
    pub(crate) window: usize,
}

/// What a claim found, as far as the next one learns from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// How many events of the window were due.
    pub(crate) due: usize,
    /// How many of them were claimed.
    pub(crate) claimed: usize,
    /// The number of the first that was due.
    pub(crate) first: Option<i64>,
}

/// The memory of a dispatcher, which claims again and again.
#[derive(Debug)]
pub(crate) struct Scan {
    batch: usize,
    state: Mutex<ScanState>,
}

/// Delivered rows that cannot be removed yet (a snapshot is held open) lie below the floor and are not looked at again with
/// every claim. It is put back now and then, because what commits late, comes back after a failure, or was locked by
/// another claim at the moment, may be below it.
#[derive(Clone, Copy, Debug)]
struct ScanPosition {
    floor: i64,
    window: usize,
}

#[derive(Debug)]
struct ScanState {
    /// The place among all keys, and that in the share that was looked at last.
    all: ScanPosition,
    own: ScanPosition,
    share: Option<Share>,
    /// The next claim looks at all keys, whatever share it has.
    at_all: bool,
}

impl ScanPosition {
    fn new(batch: usize) -> Self {
        Self { floor: i64::MIN, window: batch }
    }

    /// Learns from a look that is not repeated.
    fn note(&mut self, batch: usize, window: usize, found: Found) {
        if let Some(first) = found.first {
            self.floor = first - 1;
        }
        self.window = match found.claimed {
            claimed if found.due >= window && claimed < batch / 2 => (window * 2).min(batch * WIDEST),
            claimed if claimed * 2 >= window => batch,
            _ => (window / 2).max(batch),
        };
    }
}

impl ScanState {
    fn place(&mut self, aim: Aim) -> &mut ScanPosition {
        if aim.share.is_some() { &mut self.own } else { &mut self.all }
    }
}

impl Scan {
    pub(crate) fn new(batch: usize) -> Self {
        let place = ScanPosition::new(batch);
        Self { batch, state: Mutex::new(ScanState { all: place, own: place, share: None, at_all: false }) }
    }

    /// Looks at everything with the next claim: below the floor, and outside of the share, whose owner may be gone or stuck.
    pub(crate) fn rewind(&self) {
        let mut state = self.state.lock();
        (state.all.floor, state.own.floor, state.at_all) = (i64::MIN, i64::MIN, true);
    }

    /// Where the next claim looks that may take so many, by one who has this share of the keys.
    pub(crate) fn aim(&self, most: usize, share: Option<Share>) -> Aim {
        let mut state = self.state.lock();
        let share = share.filter(|_| !state.at_all);
        if share.is_some() && state.share != share {
            (state.share, state.own) = (share, ScanPosition::new(self.batch));
        }
        let place = if share.is_some() { state.own } else { state.all };
        Aim { share, floor: place.floor, window: place.window.max(most) }
    }

    /// Learns from a look. Whether to look again at once, elsewhere, because nothing was free there.
    pub(crate) fn learn(&self, aim: Aim, found: Found) -> bool {
        let mut state = self.state.lock();
        let place = state.place(aim);
        if found.claimed == 0 && aim.floor != i64::MIN {
            place.floor = i64::MIN;
            return true;
        }
        // A window full of events that are all held up: what is free lies behind it.
        if found.claimed == 0 && found.due >= aim.window {
            place.window = aim.window.saturating_mul(4);
            return true;
        }
        place.note(self.batch, aim.window, found);
        state.at_all = false;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Option<Share> = Some(Share { of: 8, from: 2, upto: 3 });

    fn found(due: usize, claimed: usize, first: i64) -> Found {
        Found { due, claimed, first: (due > 0).then_some(first) }
    }

    #[test]
    fn q2_what_another_held_when_the_floor_was_set_is_found_as_soon_as_nothing_else_is() {
        let scan = Scan::new(10);
        assert!(!scan.learn(scan.aim(10, None), found(10, 10, 500)));
        let aim = scan.aim(10, None);
        assert_eq!(aim.floor, 499);
        assert!(scan.learn(aim, found(3, 0, 600)), "three are due, and what stands before them is below the floor");
        assert_eq!(scan.aim(10, None).floor, i64::MIN);
        assert!(!scan.learn(scan.aim(10, None), found(4, 1, 400)));
    }

    #[test]
    fn q2_shares_have_a_place_of_their_own_and_everything_is_looked_at_now_and_then() {
        let scan = Scan::new(10);
        assert!(!scan.learn(scan.aim(10, SHARE), found(10, 10, 500)));
        assert_eq!(scan.aim(10, SHARE), Aim { share: SHARE, floor: 499, window: 10 });
        assert_eq!(scan.aim(10, None).floor, i64::MIN, "what is known of a share says nothing of the rest");
        let other = Some(Share { of: 4, from: 0, upto: 0 });
        assert_eq!(scan.aim(10, other), Aim { share: other, floor: i64::MIN, window: 10 }, "nor of another share");
        scan.rewind();
        assert_eq!(scan.aim(10, SHARE).share, None);
        assert!(!scan.learn(scan.aim(10, SHARE), found(20, 10, 1)));
        assert_eq!(scan.aim(10, SHARE).share, SHARE, "once");
    }

    #[test]
    fn q3_the_window_widens_over_what_is_held_up_and_narrows_again() {
        let scan = Scan::new(10);
        for window in [10, 20, 40, 80, 160, 160] {
            let aim = scan.aim(10, None);
            assert_eq!(aim.window, window);
            assert!(!scan.learn(aim, found(window, 1, 1)));
        }
        let aim = scan.aim(10, None);
        assert!(scan.learn(aim, found(160, 0, 1)) && scan.learn(scan.aim(10, None), found(160, 0, 1)));
        assert_eq!(scan.aim(10, None).window, 640, "it goes on until something is free");
        assert!(!scan.learn(scan.aim(10, None), found(20, 10, 1)));
        assert_eq!(scan.aim(10, None).window, 320);
    }
}
