//! The functions that can be handlers: their first argument is the session, the others come from the request.
//!
//! The session is lent for the call, as in the body of a unit, so the compiler refuses to keep it. The future is named,
//! so that it can be asked to be `Send`, and then boxed: one allocation a call.

use std::{future::Future, pin::Pin};

use sea_session::Session;

/// Names the future of a function of a session and arguments, so that it can be asked to be `Send`.
pub trait Call<A, Args, R>: Send + Sync {
    /// The function's future.
    type Fut: Future<Output = R>;

    /// Calls it.
    fn call(&self, session: A, args: Args) -> Self::Fut;
}

/// A function of the session and of what the request gives: `async fn(&mut Session, T1, T2, …) -> R`, of up to eight
/// arguments beside the session, or an async closure of that form which captures nothing (axum's `State` and
/// `Extension` bring what it needs).
///
/// The last argument may take the request's body; the others must be `FromRequestParts`. What it returns must not
/// borrow from the session: a type, or `impl IntoResponse + use<>`.
#[diagnostic::on_unimplemented(
    message = "this cannot be a handler that is called with a session",
    label = "not an async function of the session and up to eight arguments, or its future is not `Send`",
    note = "write `async fn handler(s: &mut Session, …) -> impl IntoResponse`: the session comes first, then what axum extracts"
)]
pub trait SessionFunction<Args, R>: Clone + Send + Sync + 'static {
    /// Calls it.
    fn call<'a>(&'a self, session: &'a mut Session, args: Args) -> Pin<Box<dyn Future<Output = R> + Send + 'a>>
    where
        Args: 'a,
        R: 'a;
}

impl<F, Args, R> SessionFunction<Args, R> for F
where
    F: for<'s> Call<&'s mut Session, Args, R, Fut: Send> + Clone + 'static,
{
    fn call<'a>(&'a self, session: &'a mut Session, args: Args) -> Pin<Box<dyn Future<Output = R> + Send + 'a>>
    where
        Args: 'a,
        R: 'a,
    {
        Box::pin(Call::call(self, session, args))
    }
}

/// A function with these arguments beside the session.
macro_rules! callable {
    ($($name:ident),*) => {
        impl<F, A, R, Fut, $($name,)*> Call<A, ($($name,)*), R> for F
        where
            F: AsyncFn(A, $($name),*) -> R + Fn(A, $($name),*) -> Fut + Send + Sync,
            Fut: Future<Output = R>,
        {
            type Fut = Fut;

            #[allow(non_snake_case, reason = "an argument is called as its type")]
            fn call(&self, session: A, ($($name,)*): ($($name,)*)) -> Fut {
                self(session, $($name),*)
            }
        }
    };
}

callable!();
callable!(T1);
callable!(T1, T2);
callable!(T1, T2, T3);
callable!(T1, T2, T3, T4);
callable!(T1, T2, T3, T4, T5);
callable!(T1, T2, T3, T4, T5, T6);
callable!(T1, T2, T3, T4, T5, T6, T7);
callable!(T1, T2, T3, T4, T5, T6, T7, T8);
