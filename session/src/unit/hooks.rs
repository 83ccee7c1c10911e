//! What runs after the outermost COMMIT, or after a rollback (H). Hooks are kept in the order in which they were
//! registered, each with the block it belongs to; they never run inside the transaction.

use std::{fmt::Display, future::Future, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::error::Error;

/// What a hook may return: nothing, or a `Result` whose error is reported as [`Error::AfterCommit`] (H6).
#[diagnostic::on_unimplemented(
    message = "a hook returns nothing, or a `Result<(), _>` whose error can be displayed, and not `{Self}`",
    note = "end the hook with `;`, or map its value to `()`"
)]
pub trait HookOutcome: Send {
    /// The error's text, if the hook failed.
    fn failure(self) -> Option<String>;
}

impl HookOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display + Send> HookOutcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|e| e.to_string())
    }
}

/// An async closure without arguments whose future is `Send`.
pub trait HookBody<R>: AsyncFnOnce() -> R + FnOnce() -> <Self as HookBody<R>>::Fut {
    /// The hook's future.
    type Fut: Future<Output = R>;
}

impl<F, Fut, R> HookBody<R> for F
where
    F: AsyncFnOnce() -> R + FnOnce() -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

type Run = Box<dyn FnOnce() -> BoxFuture<'static, Option<String>> + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Commit,
    Rollback,
}

struct Hook {
    id: u64,
    frame: u64,
    when: When,
    robust: bool,
    run: Run,
}

/// Whether the unit still collects hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// Committed and running its hooks: a hook registered now runs next (H5).
    Running,
    /// Over: a hook registered now runs at once (H1).
    Over,
}

#[derive(Default)]
struct HookRegister {
    next: u64,
    frame: u64,
    stage: Stage,
    hooks: Vec<Hook>,
    /// How many hooks at the front were registered by the hook that runs.
    urgent: usize,
}

/// Registers hooks of one unit of work; cheap to clone, so that a hook can take it along (H5).
#[derive(Clone, Default)]
pub struct Hooks(Arc<Mutex<HookRegister>>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").field("registered", &self.0.lock().hooks.len()).finish()
    }
}

/// A hook that was just registered.
#[derive(Debug)]
pub struct Registered {
    hooks: Hooks,
    id: u64,
}

impl Registered {
    /// If the hook fails, its error is logged and the hooks after it run all the same (H6).
    pub fn robust(self) -> Self {
        if let Some(hook) = self.hooks.0.lock().hooks.iter_mut().find(|hook| hook.id == self.id) {
            hook.robust = true;
        }
        self
    }
}

impl Hooks {
    /// After the outermost COMMIT, or never (H2, H3). After the unit has ended it runs at once, in a task of its own (H1).
    pub fn on_commit<F, R>(&self, hook: F) -> Registered
    where
        F: HookBody<R, Fut: Send + 'static> + Send + 'static,
        R: HookOutcome + 'static,
    {
        self.register(When::Commit, hook)
    }

    /// After the rollback of the block that it was registered in, or of one around it; never if that commits (H8).
    pub fn on_rollback<F, R>(&self, hook: F) -> Registered
    where
        F: HookBody<R, Fut: Send + 'static> + Send + 'static,
        R: HookOutcome + 'static,
    {
        self.register(When::Rollback, hook)
    }

    fn register<F, R>(&self, when: When, hook: F) -> Registered
    where
        F: HookBody<R, Fut: Send + 'static> + Send + 'static,
        R: HookOutcome + 'static,
    {
        let run: Run = Box::new(move || {
            let future = hook();
            Box::pin(async move { future.await.failure() })
        });
        let mut state = self.0.lock();
        state.next += 1;
        let (id, frame) = (state.next, state.frame);
        let hook = Hook { id, frame, when, robust: false, run };
        match state.stage {
            Stage::Open => state.hooks.push(hook),
            Stage::Running if when == When::Commit => {
                let at = state.urgent;
                state.urgent += 1;
                state.hooks.insert(at, hook);
            }
            Stage::Running => {}
            Stage::Over if when == When::Commit => spawn(hook),
            Stage::Over => {}
        }
        drop(state);
        Registered { hooks: self.clone(), id }
    }

    pub(crate) fn enter(&self, frame: u64) {
        self.0.lock().frame = frame;
    }

    /// A block was released: its hooks are its parent's now.
    pub(crate) fn release(&self, frame: u64, parent: u64) {
        self.0.lock().hooks.iter_mut().filter(|hook| hook.frame == frame).for_each(|hook| hook.frame = parent);
    }

    /// A block was rolled back: its `on_commit` hooks are gone (H3), its `on_rollback` hooks are due.
    pub(crate) fn rolled_back(&self, frame: u64) -> Vec<DueHook> {
        let mut state = self.0.lock();
        let (gone, kept) =
            std::mem::take(&mut state.hooks).into_iter().partition::<Vec<_>, _>(|hook| hook.frame == frame);
        state.hooks = kept;
        gone.into_iter().filter(|hook| hook.when == When::Rollback).map(DueHook).collect()
    }

    /// The transaction was committed: runs what is due, first registered first.
    pub(crate) async fn committed(&self) -> Result<(), Error> {
        {
            let mut state = self.0.lock();
            state.stage = Stage::Running;
            state.hooks.retain(|hook| hook.when == When::Commit);
        }
        // Also if a hook panics or the caller goes away: what is registered afterwards runs at once.
        let _over = OverOnDrop(self);
        self.run_due().await
    }

    async fn run_due(&self) -> Result<(), Error> {
        loop {
            let hook = {
                let mut state = self.0.lock();
                if state.hooks.is_empty() {
                    return Ok(());
                }
                state.urgent = 0;
                state.hooks.remove(0)
            };
            let robust = hook.robust;
            let Some(message) = (hook.run)().await else { continue };
            if !robust {
                return Err(Error::AfterCommit { message: message.into() });
            }
            tracing::error!(error = message, "an on_commit hook failed; it is robust, so the others run");
        }
    }

    /// The unit is over without a commit.
    pub(crate) fn over(&self) {
        let mut state = self.0.lock();
        state.stage = Stage::Over;
        state.hooks.clear();
    }
}

struct OverOnDrop<'h>(&'h Hooks);

impl Drop for OverOnDrop<'_> {
    fn drop(&mut self) {
        self.0.over();
    }
}

/// An `on_rollback` hook whose block was rolled back.
pub(crate) struct DueHook(Hook);

impl DueHook {
    /// Runs it. A failure is logged: the rollback has its own cause to report (INV6).
    pub(crate) async fn run(self) {
        if let Some(message) = (self.0.run)().await {
            tracing::error!(error = message, "an on_rollback hook failed");
        }
    }

    /// Runs it in a task of its own: its block was dropped, and nobody waits.
    pub(crate) fn spawn(self) {
        spawn(self.0);
    }
}

fn spawn(hook: Hook) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            if let Some(message) = (hook.run)().await {
                tracing::error!(error = message, "a hook failed");
            }
        });
    }
}
