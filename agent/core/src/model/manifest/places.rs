//! From a key of a TOML document to the line it stands on.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Line (from 1) of a byte offset.
pub(super) fn line_of_offset(text: &str, offset: usize) -> u64 {
    let before = text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count();
    u64::try_from(before).map_or(u64::MAX, |lines| lines.saturating_add(1))
}

/// Line of a key path such as `feature[2].range`, or of the nearest table around it that the document has.
pub(super) fn line_of_key(text: &str, path: &str) -> u64 {
    let Ok(document) = DeTable::parse(text) else { return 1 };
    let mut offset = 0;
    let mut table = Some(document.get_ref());
    for part in path.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((key, value)) = table.and_then(|table| table.get_key_value(name)) else { break };
        offset = key.span().start;
        let mut value: &Spanned<DeValue<'_>> = value;
        if let (DeValue::Array(array), Some(index)) = (value.get_ref(), index) {
            let Some(element) = array.get(index) else { break };
            offset = element.span().start;
            value = element;
        }
        table = match value.get_ref() {
            DeValue::Table(inner) => Some(inner),
            _ => None,
        };
    }
    line_of_offset(text, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_on_its_line_and_a_missing_one_on_its_table() {
        let text = "schema = 1\n\n[[feature]]\nname = \"a\"\n[[feature]]\nname = \"b\"\nrange = [1, 0]\n[output]\n";
        assert_eq!(line_of_key(text, "schema"), 1);
        assert_eq!(line_of_key(text, "feature[1].range"), 7);
        assert_eq!(line_of_key(text, "feature[1].unit"), 5);
        assert_eq!(line_of_key(text, "output.tensor"), 8);
        assert_eq!(line_of_key(text, "nothing.at.all"), 1);
        assert_eq!(line_of_key("not toml [", "schema"), 1);
    }
}
