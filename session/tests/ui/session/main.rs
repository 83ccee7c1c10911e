//! Each module is a case that must not compile: `tests/faults/ui.rs`.

mod batches_with_a_body_without_items;
mod block_with_a_plain_closure;
mod hook_that_returns_a_value;
mod hook_with_a_future;
mod parent_inside_its_child;
mod parent_while_its_child_waits;
mod session_moved_into_a_hook;
mod session_moved_into_a_task;
mod session_returned_from_its_block;
mod session_returned_from_its_unit;
mod session_stored_outside_its_block;
mod session_stored_outside_its_unit;
mod session_while_its_rows_are_read;
mod two_children_side_by_side;
mod unit_that_changes_what_it_captures;
mod unit_that_is_not_send;
mod unit_with_a_closure_of_nothing;
mod unit_with_a_future;
mod unit_with_a_plain_closure;
mod unit_with_an_error_without_from;

fn main() {}
