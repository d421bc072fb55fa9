//! Node ids as people write them, with their namespace by number or by URI.

use std::fmt;
use std::str::FromStr as _;

use opcua::types::{Identifier, NamespaceMap, NodeId};
use serde::Deserialize;

/// A node, before a server has said which number its namespace has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Node {
    namespace: Namespace,
    identifier: Identifier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Namespace {
    Index(u16),
    /// Stable where the index is not: servers renumber their namespaces at a restart.
    Uri(String),
}

impl TryFrom<String> for Node {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |fault: &str| {
            format!("\"{text}\" {fault}; write it like \"ns=2;s=Press7.Torque\" or \"nsu=urn:plant;s=Press7.Torque\"")
        };
        let (namespace, identifier) = if let Some(rest) = text.strip_prefix("nsu=") {
            let (uri, identifier) = rest.split_once(';').ok_or_else(|| wrong("has no identifier after its URI"))?;
            if uri.is_empty() {
                return Err(wrong("has an empty namespace URI"));
            }
            // OPC UA Part 6, 5.3.1.11: a semicolon or percent sign inside the URI is escaped.
            (Namespace::Uri(uri.replace("%3B", ";").replace("%3b", ";").replace("%25", "%")), identifier)
        } else if let Some(rest) = text.strip_prefix("ns=") {
            let (index, identifier) = rest.split_once(';').ok_or_else(|| wrong("has no identifier after ns="))?;
            let index = index.parse().map_err(|_| wrong("has a namespace index that is not between 0 and 65535"))?;
            (Namespace::Index(index), identifier)
        } else {
            (Namespace::Index(0), text.as_str())
        };
        // The library cuts the text at its second byte, which must then be the boundary of a character.
        let identifier = if identifier.len() > 2 && identifier.is_char_boundary(2) { identifier } else { "" };
        let identifier = Identifier::from_str(identifier)
            .map_err(|()| wrong("has no identifier, which begins with s=, i=, g= or b="))?;
        Ok(Self { namespace, identifier })
    }
}

impl Node {
    /// Whether it takes the server's list of namespaces to find this node.
    pub(super) fn needs_namespaces(&self) -> bool {
        matches!(self.namespace, Namespace::Uri(_))
    }

    /// The node's id on a server with these namespaces.
    pub(super) fn resolve(&self, namespaces: &NamespaceMap) -> Result<NodeId, String> {
        let index = match &self.namespace {
            Namespace::Index(index) => *index,
            Namespace::Uri(uri) => namespaces.get_index(uri).ok_or_else(|| {
                let mut known: Vec<_> = namespaces.known_namespaces().keys().map(String::as_str).collect();
                known.sort_unstable();
                format!("the server has no namespace \"{uri}\"; it has: {}", known.join(", "))
            })?,
        };
        Ok(NodeId::new(index, self.identifier.clone()))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Namespace::Index(0) => write!(f, "{}", self.identifier),
            Namespace::Index(index) => write!(f, "ns={index};{}", self.identifier),
            Namespace::Uri(uri) => write!(f, "nsu={uri};{}", self.identifier),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Result<Node, String> {
        Node::try_from(text.to_owned())
    }

    #[test]
    fn namespaces_by_index_and_by_uri_lead_to_the_same_node() {
        let mut namespaces = NamespaceMap::new();
        namespaces.add_namespace("urn:other");
        let index = namespaces.add_namespace("urn:plant;1%");
        let by_uri = node("nsu=urn:plant%3B1%25;s=Press7.AirTemperature;x").unwrap();
        let by_index = node(&format!("ns={index};s=Press7.AirTemperature;x")).unwrap();
        assert!(by_uri.needs_namespaces() && !by_index.needs_namespaces());
        assert_eq!(by_uri.resolve(&namespaces), by_index.resolve(&namespaces));
        assert_eq!(node("i=2258").unwrap().resolve(&namespaces), Ok(NodeId::new(0, 2258u32)));
        let unknown = node("nsu=urn:none;i=1").unwrap().resolve(&namespaces).unwrap_err();
        assert!(unknown.contains("no namespace \"urn:none\"") && unknown.contains("urn:other"), "{unknown}");
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "x",
            "s=",
            "ns=2",
            "ns=2;",
            "ns=65536;i=1",
            "ns=-1;i=1",
            "ns=2;i=x",
            "nsu=;s=a",
            "nsu=urn:a",
            "é",
            "aé",
        ] {
            assert!(node(bad).unwrap_err().contains("ns=2;s="), "{bad}");
        }
    }
}
