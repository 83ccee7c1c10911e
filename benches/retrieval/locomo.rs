//! LoCoMo's public JSON form: conversations of numbered sessions of turns, and questions with the turns that answer them.
//!
//! A file is one conversation or a list of them; the sessions stand in `conversation` or beside the questions.

use serde_json::Value;

use crate::measure::{Asked, Corpus, Text};

/// The corpora of a file: each turn a text, and each session a text.
pub struct Conversation {
    pub turns: Corpus,
    pub sessions: Corpus,
}

/// Reads the text of a file.
pub fn read(text: &str, name: &str) -> Result<Vec<Conversation>, String> {
    let file: Value = serde_json::from_str(text).map_err(|e| format!("{name} is no JSON: {e}"))?;
    let all = match file {
        Value::Array(all) => all,
        one => vec![one],
    };
    all.iter().enumerate().map(|(n, one)| conversation(one, &format!("{name}-{n}"))).collect()
}

fn conversation(file: &Value, name: &str) -> Result<Conversation, String> {
    let said = file.get("conversation").unwrap_or(file);
    let account: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let corpus = |kind: &str| Corpus { account: format!("{kind}{account}"), texts: Vec::new(), questions: Vec::new() };
    let (mut turns, mut sessions) = (corpus("turns"), corpus("sessions"));
    for number in 1.. {
        let Some(session) = said.get(format!("session_{number}")) else {
            // Some numbers have a time and no turns.
            if said.get(format!("session_{number}_date_time")).is_some() {
                continue;
            } else {
                break;
            };
        };
        let session = session.as_array().ok_or_else(|| format!("{name}: session_{number} is no list of turns"))?;
        let time = said.get(format!("session_{number}_date_time")).and_then(Value::as_str).unwrap_or_default();
        let mut all = format!("{time}\n");
        for turn in session {
            let field = |key: &str| turn.get(key).and_then(Value::as_str).unwrap_or_default();
            let caption = field("blip_caption");
            let separator = if caption.is_empty() { "" } else { "\n" };
            let line = format!("{}: {}{separator}{caption}", field("speaker"), field("text"));
            all += &line;
            all.push('\n');
            let id = field("dia_id").to_owned();
            let place = format!("s{}t{}x", number, turns.texts.len());
            turns.texts.push(Text { id, name: place, content: format!("{time}\n{line}") });
        }
        sessions.texts.push(Text { id: format!("D{number}"), name: format!("s{number}n0x"), content: all });
    }
    for question in file.get("qa").and_then(Value::as_array).ok_or_else(|| format!("{name} has no list `qa`"))? {
        let evidence = question.get("evidence").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        // Some are written as `D8:6; D9:17`.
        let named: Vec<&str> =
            evidence.iter().filter_map(Value::as_str).flat_map(|all| all.split([';', ' ', ','])).collect();
        let mut answers: Vec<String> =
            turns.texts.iter().map(|turn| &turn.id).filter(|id| named.contains(&id.as_str())).cloned().collect();
        answers.dedup();
        if answers.is_empty() {
            continue;
        }
        let text = question.get("question").and_then(Value::as_str).unwrap_or_default().to_owned();
        let category = match question.get("category").and_then(Value::as_i64) {
            Some(1) => "1 several hops".to_owned(),
            Some(2) => "2 time".to_owned(),
            Some(3) => "3 open".to_owned(),
            Some(4) => "4 one hop".to_owned(),
            Some(5) => "5 adversarial".to_owned(),
            other => other.map_or_else(|| "none".to_owned(), |n| n.to_string()),
        };
        let mut of_sessions: Vec<String> =
            answers.iter().filter_map(|id| id.split(':').next()).map(str::to_owned).collect();
        of_sessions.sort_unstable();
        of_sessions.dedup();
        sessions.questions.push(Asked { text: text.clone(), answers: of_sessions, category: category.clone() });
        turns.questions.push(Asked { text, answers, category });
    }
    Ok(Conversation { turns, sessions })
}
