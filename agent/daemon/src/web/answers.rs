//! What a model can answer, so that somebody can say what the right answer would have been.

use super::problem::Problem;
use super::rollout::Running;

/// The answers of one model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answers {
    /// One of these classes.
    Classes(Vec<String>),
    /// A quantity in this unit, which may be empty.
    Value(String),
    /// Nobody here knows: the model names no classes, or is gone.
    Unknown,
}

impl Answers {
    /// Those of the model of this name, as it runs now.
    pub(crate) fn of(running: &Running, model: &str) -> Self {
        let Some(output) = running.model(model).map(|model| &model["output"]) else { return Self::Unknown };
        let classes = output["labels"].as_array().map(Vec::as_slice).unwrap_or_default();
        let classes: Vec<String> = classes.iter().filter_map(|class| Some(class.as_str()?.to_owned())).collect();
        match output["kind"].as_str() {
            Some("classification") if !classes.is_empty() => Self::Classes(classes),
            Some("regression") => Self::Value(output["unit"].as_str().unwrap_or_default().to_owned()),
            _ => Self::Unknown,
        }
    }

    /// What somebody wrote as the right answer, as it goes on record: numbers may be written with a comma.
    pub(crate) fn read(&self, text: &str) -> Result<String, Problem> {
        let text = text.trim();
        if !matches!(self, Self::Value(_)) || text.is_empty() {
            return Ok(text.to_owned());
        }
        let plain = text.replace(',', ".").replace('\u{2212}', "-");
        match plain.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(plain),
            _ => {
                let short: String = text.chars().take(40).collect();
                let detail = format!("\"{short}\" is not a number; write the right value as one, like 12.5");
                Err(Problem::unacceptable(detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_people_write_them_and_classes_as_they_are() {
        let value = Answers::Value("h".into());
        for (text, read) in [("12,5", "12.5"), (" 12.5 ", "12.5"), ("\u{2212}3", "-3"), ("", "")] {
            assert_eq!(value.read(text).unwrap(), read);
        }
        for text in ["twelve", "1.000,5", "inf", "NaN"] {
            assert!(value.read(text).unwrap_err().detail.contains("is not a number"), "{text}");
        }
        assert_eq!(Answers::Unknown.read("a, b").unwrap(), "a, b");
    }
}
