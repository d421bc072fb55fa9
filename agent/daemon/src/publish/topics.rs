//! The names of the topics, which are fixed: `explaind/<gateway>/…`.

use std::fmt::Write as _;

/// The topics of one gateway.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    /// `explaind/<gateway>/`
    root: String,
}

impl Topics {
    pub(super) fn new(gateway: &str) -> Self {
        Self { root: format!("explaind/{}/", level(gateway)) }
    }

    /// Whether the gateway is there: retained, and the last will.
    pub(super) fn status(&self) -> String {
        format!("{}status", self.root)
    }

    /// What is predicted of a machine.
    pub(super) fn prediction(&self, asset: &str) -> String {
        format!("{}{}/prediction", self.root, level(asset))
    }

    /// The alert of a machine: retained.
    pub(super) fn alert(&self, asset: &str) -> String {
        format!("{}{}/alert", self.root, level(asset))
    }

    /// The alerts of all machines, also of those that are gone.
    pub(super) fn alerts(&self) -> String {
        format!("{}+/alert", self.root)
    }

    /// Whether `topic` is one of [`alerts`](Self::alerts).
    pub(super) fn is_alert(&self, topic: &str) -> bool {
        let asset = topic.strip_prefix(&self.root).and_then(|rest| rest.strip_suffix("/alert"));
        asset.is_some_and(|asset| !asset.is_empty() && !asset.contains('/'))
    }

    /// Where acknowledgements come from.
    pub(super) fn acknowledge(&self) -> String {
        format!("{}cmd/acknowledge", self.root)
    }
}

/// One level of a topic. The names that a configuration may give pass as they are; of anything else no character may
/// stand for other topics, or open a level of its own.
fn level(name: &str) -> String {
    let mut level = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            level.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(level, "%{byte:02X}");
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_fixed_and_no_name_can_break_out_of_its_level() {
        let topics = Topics::new("line-3");
        assert_eq!(topics.status(), "explaind/line-3/status");
        assert_eq!(topics.prediction("press-7"), "explaind/line-3/press-7/prediction");
        assert_eq!(topics.alert("_gateway"), "explaind/line-3/_gateway/alert");
        assert_eq!(topics.acknowledge(), "explaind/line-3/cmd/acknowledge");
        assert_eq!(topics.alert("a/+#\0ß%"), "explaind/line-3/a%2F%2B%23%00%C3%9F%25/alert");
    }

    #[test]
    fn only_alerts_of_this_gateway_are_its_alerts() {
        let topics = Topics::new("line-3");
        assert!(topics.is_alert("explaind/line-3/press-7/alert") && topics.is_alert(&topics.alert("cmd")));
        for other in
            ["explaind/line-30/x/alert", "explaind/line-3/alert", "explaind/line-3//alert", "explaind/line-3/a/b/alert"]
        {
            assert!(!topics.is_alert(other), "{other}");
        }
    }
}
