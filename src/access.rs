//! Who may do what: decided from the caller and the URI alone, before any SQL (V2).
//!
//! What it is for: one place that says yes or no, and gives the true reason of a no. It must never ask a database, and
//! never soften a denial into an empty answer; that is the caller's choice ([`crate::Store::exists`]).
//!
//! | Place | Read | Write |
//! |---|---|---|
//! | another account | nobody | nobody |
//! | own user's or agent's space | yes | yes |
//! | a space in `visible_owner_spaces` | yes, unless `strict` | yes, unless `strict` |
//! | any other user's or agent's space | ROOT | ROOT |
//! | `resources` | everybody of the account | ADMIN, ROOT |
//! | a session | the space that created it, ROOT | the same |
//!
//! Whose a session is stands in the database: reads carry the caller's spaces as a condition, and a write meets the
//! session's own row ([`crate::Store::write`]).

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;

use crate::uri::{Owner, SHARED_SPACE, Uri};

/// What a caller is allowed in its account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Its own space, and reading the resources.
    #[default]
    Member,
    /// Also writing the resources.
    Admin,
    /// Every space of the account.
    Root,
}

/// In whose name an operation runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    account: String,
    own: Owner,
    role: Role,
    visible_owner_spaces: BTreeSet<String>,
    strict: bool,
}

/// What an operation does to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Looks at it.
    Read,
    /// Changes it.
    Write,
}

/// Why an operation is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The URI is of another account.
    #[error("it is in the account `{uri}`, and the caller is of `{caller}`")]
    OtherAccount {
        /// The caller's account.
        caller: String,
        /// The URI's account.
        uri: String,
    },
    /// The space is another user's or agent's, and was not made visible.
    #[error("it is in the space `{space}`, which is not the caller's")]
    OtherSpace {
        /// The space of the URI.
        space: String,
    },
    /// The space was made visible, but the caller is strict.
    #[error("it is in the space `{space}`, which is visible to the caller but not in strict mode")]
    Strict {
        /// The space of the URI.
        space: String,
    },
    /// Resources are written by administrators.
    #[error("resources are written with the role ADMIN, and the caller has {role:?}")]
    NeedsAdmin {
        /// The caller's role.
        role: Role,
    },
    /// A session is created by a user or an agent.
    #[error("a session belongs to the user or agent that created it, and the caller is neither")]
    NoSpace,
    /// The session was created by another space.
    #[error("the session `{session}` belongs to another space")]
    OtherSession {
        /// The session's name.
        session: String,
    },
}

impl Caller {
    fn new(account: impl AsRef<str>, own: Owner) -> Self {
        Self {
            account: composed(account.as_ref()),
            own,
            role: Role::Member,
            visible_owner_spaces: BTreeSet::new(),
            strict: false,
        }
    }

    /// A user of an account.
    pub fn user(account: impl AsRef<str>, id: impl AsRef<str>) -> Self {
        Self::new(account, Owner::User(composed(id.as_ref())))
    }

    /// An agent of an account.
    pub fn agent(account: impl AsRef<str>, id: impl AsRef<str>) -> Self {
        Self::new(account, Owner::Agent(composed(id.as_ref())))
    }

    /// Somebody of an account without a space of their own, a maintenance job say.
    pub fn account_only(account: impl AsRef<str>) -> Self {
        Self::new(account, Owner::Nobody)
    }

    /// With this role.
    pub fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// May also use these spaces, named as they are stored: `user:bob`, `agent:planner` ([`Owner::space`]).
    pub fn seeing<S: Into<String>>(mut self, spaces: impl IntoIterator<Item = S>) -> Self {
        self.visible_owner_spaces.extend(spaces.into_iter().map(Into::into));
        self
    }

    /// Only its own space (and the resources), whatever is visible otherwise.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The account, which is the tenant.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The caller's own space as it is stored; `None` for a caller without one.
    pub fn own_space(&self) -> Option<String> {
        self.own.space()
    }

    /// The spaces that were made visible, also where `strict` drops them.
    pub fn visible_owner_spaces(&self) -> impl Iterator<Item = &str> {
        self.visible_owner_spaces.iter().map(String::as_str)
    }

    /// Whether visible spaces are dropped.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The owner spaces whose rows exist for this caller; `None` for ROOT: all of the account.
    pub fn owner_filter(&self) -> Option<Vec<String>> {
        if self.role == Role::Root {
            return None;
        }
        let mut spaces: BTreeSet<String> = self.own.space().into_iter().collect();
        spaces.insert(SHARED_SPACE.to_owned());
        if !self.strict {
            spaces.extend(self.visible_owner_spaces.iter().cloned());
        }
        Some(spaces.into_iter().collect())
    }

    /// The owner spaces that this caller may change; `None` for ROOT. What it may only read is none of its own (W1).
    pub(crate) fn own_spaces(&self) -> Option<Vec<String>> {
        let mut spaces = self.owner_filter()?;
        spaces.retain(|space| space != SHARED_SPACE || self.role >= Role::Admin);
        Some(spaces)
    }

    /// Decides from the URI alone.
    ///
    /// # Errors
    /// [`Denial`] with the true reason.
    pub fn check(&self, uri: &Uri, access: Access) -> Result<(), Denial> {
        let account = uri.account();
        if account != self.account {
            return Err(Denial::OtherAccount { caller: self.account.clone(), uri: account.into_owned() });
        }
        let owner = uri.owner();
        if access == Access::Write && owner == Owner::Shared && self.role < Role::Admin {
            return Err(Denial::NeedsAdmin { role: self.role });
        }
        match owner {
            Owner::User(_) | Owner::Agent(_) => self.check_space(owner.space().unwrap_or_default()),
            Owner::Session(_) if access == Access::Write && self.own == Owner::Nobody && self.role < Role::Root => {
                Err(Denial::NoSpace)
            }
            Owner::Session(_) | Owner::Shared | Owner::Nobody => Ok(()),
        }
    }

    fn check_space(&self, space: String) -> Result<(), Denial> {
        if self.role == Role::Root || self.own.space().as_ref() == Some(&space) {
            return Ok(());
        }
        match (self.visible_owner_spaces.contains(&space), self.strict) {
            (true, false) => Ok(()),
            (true, true) => Err(Denial::Strict { space }),
            (false, _) => Err(Denial::OtherSpace { space }),
        }
    }
}

/// In the form that URIs have, so that two spellings of one name are one caller.
fn composed(name: &str) -> String {
    name.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(s: &str) -> Uri {
        Uri::parse(s).expect("a URI of this test")
    }

    #[test]
    fn v2_own_space_and_resources() {
        let alice = Caller::user("acme", "alice");
        let own = uri("ctx://acme/users/alice/memories/likes/tea");
        assert_eq!(alice.check(&own, Access::Read), Ok(()));
        assert_eq!(alice.check(&own, Access::Write), Ok(()));
        let shared = uri("ctx://acme/resources/handbook");
        assert_eq!(alice.check(&shared, Access::Read), Ok(()));
        assert_eq!(alice.check(&shared, Access::Write), Err(Denial::NeedsAdmin { role: Role::Member }));
        let admin = alice.with_role(Role::Admin);
        assert_eq!(admin.check(&shared, Access::Write), Ok(()));
    }

    #[test]
    fn v2_an_agent_and_a_user_of_one_name_are_two_spaces() {
        let agent = Caller::agent("acme", "alice");
        let users = uri("ctx://acme/users/alice/memories");
        assert_eq!(agent.check(&users, Access::Read), Err(Denial::OtherSpace { space: "user:alice".into() }));
    }

    #[test]
    fn v2_the_account_comes_first_for_every_role() {
        let root = Caller::user("acme", "alice").with_role(Role::Root);
        let other = uri("ctx://rival/users/alice/memories");
        let denial = Denial::OtherAccount { caller: "acme".into(), uri: "rival".into() };
        assert_eq!(root.check(&other, Access::Read), Err(denial));
    }

    #[test]
    fn v2_visible_spaces_and_strict() {
        let bobs = uri("ctx://acme/users/bob/memories/likes/tea");
        let alice = Caller::user("acme", "alice");
        assert_eq!(alice.check(&bobs, Access::Read), Err(Denial::OtherSpace { space: "user:bob".into() }));
        let seeing = alice.seeing(["user:bob"]);
        assert_eq!(seeing.check(&bobs, Access::Read), Ok(()));
        assert_eq!(seeing.owner_filter(), Some(vec!["shared".into(), "user:alice".into(), "user:bob".into()]));
        let strict = seeing.strict();
        assert_eq!(strict.check(&bobs, Access::Read), Err(Denial::Strict { space: "user:bob".into() }));
        assert_eq!(strict.owner_filter(), Some(vec!["shared".into(), "user:alice".into()]));
    }

    #[test]
    fn v2_admin_does_not_read_private_spaces_and_root_does() {
        let bobs = uri("ctx://acme/agents/bob/skills/cooking");
        let admin = Caller::user("acme", "alice").with_role(Role::Admin);
        assert_eq!(admin.check(&bobs, Access::Read), Err(Denial::OtherSpace { space: "agent:bob".into() }));
        let root = admin.with_role(Role::Root);
        assert_eq!(root.check(&bobs, Access::Write), Ok(()));
        assert_eq!(root.owner_filter(), None);
    }

    #[test]
    fn v2_sessions_need_somebody_to_belong_to() {
        let state = uri("ctx://acme/sessions/s1/state.json");
        assert_eq!(Caller::account_only("acme").check(&state, Access::Write), Err(Denial::NoSpace));
        assert_eq!(Caller::agent("acme", "a").check(&state, Access::Write), Ok(()));
    }

    #[test]
    fn v2_two_spellings_of_a_name_are_one_caller() {
        let composed_name = Caller::user("acme", "Zo\u{eb}");
        let decomposed = Caller::user("acme", "Zoe\u{308}");
        assert_eq!(composed_name, decomposed);
        let space = uri("ctx://acme/users/Zoe\u{308}/memories");
        assert_eq!(composed_name.check(&space, Access::Write), Ok(()));
        assert_eq!(composed_name.own_space().as_deref(), Some("user:Zo%C3%AB"));
    }
}
