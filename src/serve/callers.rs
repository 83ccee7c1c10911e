//! Who a request is from: a table of bearer tokens, or one caller for everybody who reaches the service.
//!
//! Tokens are kept as their hashes: what is looked up is the hash of what was sent, so neither a debugger nor the time of
//! an answer tells a token.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use sha2::{Digest, Sha256};

use crate::{
    access::{Caller, Role},
    error::StoreError,
};

/// The shortest token, in characters.
const SHORTEST: usize = 16;

type Hash = [u8; 32];

/// Who may use the service, and how requests prove who they are from.
#[derive(Clone)]
pub struct Callers(Arc<Known>);

#[derive(Clone)]
enum Known {
    Everybody(Caller),
    ByToken { callers: HashMap<Hash, Caller>, operators: HashSet<Hash> },
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Known::Everybody(caller) => f.debug_tuple("Everybody").field(caller).finish(),
            Known::ByToken { callers, operators } => {
                f.debug_struct("ByToken").field("callers", &callers.len()).field("operators", &operators.len()).finish()
            }
        }
    }
}

impl Callers {
    /// Whoever reaches the service is this caller, and an operator. For loopback: requests that name another host are
    /// refused, so that no page of the web reaches the service through a name of its own that leads here.
    pub fn everybody(caller: Caller) -> Self {
        Self(Arc::new(Known::Everybody(caller)))
    }

    /// Each caller by a bearer token of its own.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for a token that is too short, has other characters than letters, digits and `-._~`,
    /// or is given twice.
    pub fn by_token<T: AsRef<str>>(callers: impl IntoIterator<Item = (T, Caller)>) -> Result<Self, StoreError> {
        let mut by_hash = HashMap::new();
        for (token, caller) in callers {
            if by_hash.insert(checked(token.as_ref())?, caller).is_some() {
                return Err(StoreError::InvalidArgument("a token is given twice: each is one caller's".into()));
            }
        }
        Ok(Self(Arc::new(Known::ByToken { callers: by_hash, operators: HashSet::new() })))
    }

    /// Also an operator's token, which shows `/metrics` and nothing else.
    ///
    /// # Errors
    /// As [`Callers::by_token`].
    pub fn and_operator(self, token: &str) -> Result<Self, StoreError> {
        let token = checked(token)?;
        match Arc::unwrap_or_clone(self.0) {
            Known::ByToken { callers, .. } if callers.contains_key(&token) => {
                Err(StoreError::InvalidArgument("an operator's token is no caller's: choose another".into()))
            }
            Known::ByToken { callers, mut operators } => {
                operators.insert(token);
                Ok(Self(Arc::new(Known::ByToken { callers, operators })))
            }
            everybody => Ok(Self(Arc::new(everybody))),
        }
    }

    /// Reads a table of tokens: a line for each, `TOKEN ACCOUNT WHO [ROLE]`, where `WHO` is `user:NAME`, `agent:NAME` or `-`
    /// for somebody without a space, and `ROLE` is `member` (unless said otherwise), `admin` or `root`; or `TOKEN operator`.
    /// Empty lines, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] with the number of the line; no token is in it.
    pub fn parse(table: &str) -> Result<Self, StoreError> {
        let (mut callers, mut operators) = (Vec::new(), Vec::new());
        for (at, line) in table.lines().enumerate() {
            let wrong = |why: &str| StoreError::InvalidArgument(format!("line {} of the tokens: {why}", at + 1));
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                [token, "operator"] => operators.push(token),
                [token, account, who] => callers.push((token, caller(account, who, "member").map_err(wrong)?)),
                [token, account, who, role] => callers.push((token, caller(account, who, role).map_err(wrong)?)),
                _ => return Err(wrong("it is `TOKEN ACCOUNT WHO [ROLE]` or `TOKEN operator`")),
            }
        }
        if callers.is_empty() {
            return Err(StoreError::InvalidArgument("the table of tokens names no caller".into()));
        }
        operators.into_iter().try_fold(Self::by_token(callers)?, |all, token| all.and_operator(token))
    }

    /// Whether requests have to carry a token.
    pub fn ask_for_tokens(&self) -> bool {
        matches!(&*self.0, Known::ByToken { .. })
    }

    /// Whose the token is; the one caller of everybody's, whatever was sent.
    pub(super) fn caller(&self, token: Option<&str>) -> Option<Caller> {
        match &*self.0 {
            Known::Everybody(caller) => Some(caller.clone()),
            Known::ByToken { callers, .. } => callers.get(&hash(token?)).cloned(),
        }
    }

    /// Whether the token is an operator's.
    pub(super) fn operates(&self, token: Option<&str>) -> bool {
        match &*self.0 {
            Known::Everybody(_) => true,
            Known::ByToken { operators, .. } => token.is_some_and(|token| operators.contains(&hash(token))),
        }
    }
}

fn caller(account: &str, who: &str, role: &str) -> Result<Caller, &'static str> {
    let caller = match who.split_once(':') {
        Some(("user", name)) if !name.is_empty() => Caller::user(account, name),
        Some(("agent", name)) if !name.is_empty() => Caller::agent(account, name),
        None if who == "-" => Caller::account_only(account),
        _ => return Err("who it is is `user:NAME`, `agent:NAME` or `-`"),
    };
    Ok(caller.with_role(match role {
        "member" => Role::Member,
        "admin" => Role::Admin,
        "root" => Role::Root,
        _ => return Err("a role is `member`, `admin` or `root`"),
    }))
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

fn checked(token: &str) -> Result<Hash, StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if token.len() >= SHORTEST && token.bytes().all(plain) {
        return Ok(hash(token));
    }
    Err(StoreError::InvalidArgument(format!(
        "a token has at least {SHORTEST} characters, which are letters, digits and `-._~`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# who\n\nalice-0123456789 acme user:alice admin\nbot-000000000000 rival agent:bot\nnobody-123456789 acme - root\nmetrics-12345678 operator\n";

    #[test]
    fn a_table_of_tokens_says_who_each_is() {
        let callers = Callers::parse(TABLE).unwrap();
        assert!(callers.ask_for_tokens());
        assert_eq!(
            callers.caller(Some("alice-0123456789")),
            Some(Caller::user("acme", "alice").with_role(Role::Admin))
        );
        assert_eq!(callers.caller(Some("bot-000000000000")), Some(Caller::agent("rival", "bot")));
        assert_eq!(callers.caller(Some("nobody-123456789")), Some(Caller::account_only("acme").with_role(Role::Root)));
        assert_eq!(callers.caller(Some("metrics-12345678")), None, "an operator is no caller");
        assert!(callers.operates(Some("metrics-12345678")) && !callers.operates(Some("alice-0123456789")));
        assert_eq!((callers.caller(None), callers.operates(None)), (None, false));
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_no_token_is_told() {
        for line in [
            "secret-token-0001 acme",
            "secret-token-0001 acme bob",
            "secret-token-0001 acme user:",
            "secret-token-0001 acme user:bob king",
            "secret-token-0001 acme user:bob root more",
        ] {
            let refused = Callers::parse(&format!("{TABLE}{line}\n")).unwrap_err().to_string();
            assert!(refused.starts_with("line 7 of the tokens: "), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
        for table in ["", "# nobody\n", "short acme user:bob\n", "a-token-with-a-;-in-it acme user:bob\n"] {
            Callers::parse(table).unwrap_err();
        }
        Callers::parse("same-token-000001 acme user:a\nsame-token-000001 acme user:b\n").unwrap_err();
        Callers::parse("same-token-000001 acme user:a\nsame-token-000001 operator\n").unwrap_err();
    }

    #[test]
    fn what_is_printed_of_callers_has_no_token() {
        assert_eq!(format!("{:?}", Callers::parse(TABLE).unwrap()), "ByToken { callers: 3, operators: 1 }");
    }
}
