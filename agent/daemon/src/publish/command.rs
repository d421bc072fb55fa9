//! What comes in on the topic for acknowledgements: JSON from programs that nobody here has seen.

use std::fmt;

use explaind_core::domain::command::Command;
use serde::Deserialize;
use uuid::Uuid;

/// The largest command; a comment has its place in it.
pub(super) const LARGEST: usize = 8 << 10;
/// The longest name that somebody may claim, and the longest comment, in characters.
const LONGEST_AUTHOR: usize = 64;
const LONGEST_COMMENT: usize = 2000;
/// The longest description of what is wrong, in characters.
const LONGEST_FAULT: usize = 200;

/// "I have seen it", said from afar.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Acknowledgement {
    pub(super) alert_id: Uuid,
    /// `mqtt:` and the name that was claimed: nobody has checked it.
    pub(super) author: String,
    pub(super) comment: Option<String>,
}

/// Why a message is no command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// The broker kept it for nobody knows how long: what it names may be another alert's story by now.
    Retained,
    TooLarge(usize),
    Malformed(String),
}

impl Fault {
    /// The label of its metric.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::TooLarge(_) => "too_large",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retained => f.write_str("it was retained by the broker; send commands without the retain flag"),
            Self::TooLarge(bytes) => write!(f, "it has {bytes} bytes; a command has at most {LARGEST}"),
            Self::Malformed(fault) => {
                write!(f, "{fault}; write {{\"alert_id\": \"…\", \"author\": \"…\", \"comment\": \"…\"}}")
            }
        }
    }
}

/// Members that are not known are left aside: control systems like to add some of their own.
#[derive(Deserialize)]
struct Raw {
    alert_id: Uuid,
    author: String,
    comment: Option<String>,
}

impl Acknowledgement {
    /// Reads a message.
    pub(super) fn read(payload: &[u8], retained: bool) -> Result<Self, Fault> {
        if retained {
            return Err(Fault::Retained);
        }
        if payload.len() > LARGEST {
            return Err(Fault::TooLarge(payload.len()));
        }
        let raw: Raw = serde_json::from_slice(payload).map_err(|error| {
            // It may quote what was sent.
            Fault::Malformed(tidy(&error.to_string()).chars().take(LONGEST_FAULT).collect())
        })?;
        let author = tidy(&raw.author);
        if author.is_empty() {
            return Err(Fault::Malformed("the author is empty".to_owned()));
        }
        let comment = raw.comment.map(|comment| tidy(&comment)).filter(|comment| !comment.is_empty());
        let too_long = |text: &str, longest| text.chars().count() > longest;
        if too_long(&author, LONGEST_AUTHOR) || comment.as_ref().is_some_and(|text| too_long(text, LONGEST_COMMENT)) {
            let fault = format!(
                "the author may have at most {LONGEST_AUTHOR} characters, and the comment at most {LONGEST_COMMENT}"
            );
            return Err(Fault::Malformed(fault));
        }
        Ok(Self { alert_id: raw.alert_id, author: format!("mqtt:{author}"), comment })
    }

    /// What it asks the driver for.
    pub(super) fn command(&self) -> Command {
        Command::Acknowledge { alert_id: self.alert_id, author: self.author.clone(), comment: self.comment.clone() }
    }
}

/// On one line, and without what could play tricks on a terminal.
fn tidy(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018f4e6a-0000-7000-8000-000000000001";

    fn read(json: &str) -> Result<Acknowledgement, Fault> {
        Acknowledgement::read(json.as_bytes(), false)
    }

    #[test]
    fn who_is_claimed_to_have_seen_it_is_marked_as_claimed() {
        let read =
            read(&format!(r#"{{"alert_id":"{ID}","author":" Ada\u001b[2J ","comment":"on my\nway","station":7}}"#))
                .unwrap();
        let expected = Acknowledgement {
            alert_id: ID.parse().unwrap(),
            author: "mqtt:Ada [2J".to_owned(),
            comment: Some("on my way".to_owned()),
        };
        assert_eq!(read, expected);
        let Command::Acknowledge { author, .. } = read.command() else { panic!("{:?}", read.command()) };
        assert_eq!(author, "mqtt:Ada [2J");
        let short = self::read(&format!(r#"{{"alert_id":"{ID}","author":"mqtt:ada","comment":" "}}"#)).unwrap();
        assert_eq!((short.author.as_str(), short.comment), ("mqtt:mqtt:ada", None));
    }

    #[test]
    fn nothing_else_is_a_command() {
        let good = format!(r#"{{"alert_id":"{ID}","author":"ada"}}"#);
        assert!(read(&good).is_ok());
        assert_eq!(Acknowledgement::read(good.as_bytes(), true), Err(Fault::Retained));
        let large = format!("{good}{}", " ".repeat(LARGEST));
        assert_eq!(read(&large), Err(Fault::TooLarge(large.len())));
        let long = format!(r#"{{"alert_id":"{ID}","author":"{}"}}"#, "a".repeat(65));
        let talk = format!(r#"{{"alert_id":"{ID}","author":"a","comment":"{}"}}"#, "a".repeat(2001));
        let deep = "[".repeat(LARGEST);
        let empty = format!(r#"{{"alert_id":"{ID}","author":" \n"}}"#);
        let nobody = format!(r#"{{"alert_id":"{ID}"}}"#);
        for bad in ["", "{", "null", "7", &long, &talk, &deep, &empty, &nobody, r#"{"alert_id":"1","author":"a"}"#] {
            let fault = read(bad).unwrap_err();
            assert_eq!(fault.code(), "malformed", "{bad}");
            assert!(fault.to_string().contains("alert_id"), "{fault}");
        }
        assert!(Acknowledgement::read(&[0xFF, 0xFE], false).is_err());
        let chatty = read(&format!(r#"{{"alert_id":"{}"}}"#, "a\\u001b".repeat(900))).unwrap_err().to_string();
        assert!(chatty.chars().count() < 300 && !chatty.contains(char::is_control), "{chatty}");
    }
}
