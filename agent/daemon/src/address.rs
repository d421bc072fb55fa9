//! Where a peer listens, as a configuration says it.

use std::fmt;

/// Where a peer listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// What came before `://`.
    pub(crate) scheme: &'static str,
    /// A host name or an IP address, without brackets.
    pub(crate) host: String,
    /// The port; the scheme's own where none was given.
    pub(crate) port: u16,
    /// What followed host and port, with its leading slash.
    pub(crate) path: String,
}

impl Address {
    /// Reads `scheme://host[:port][/path]` with one of the given schemes and their usual ports.
    pub(crate) fn parse(text: &str, schemes: &[(&'static str, u16)]) -> Result<Self, String> {
        let example =
            schemes.first().map_or_else(String::new, |(scheme, port)| format!("{scheme}://192.168.0.10:{port}"));
        let wrong = |fault: &str| format!("\"{text}\" {fault}; write it like \"{example}\"");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("is not a URL"))?;
        let &(scheme, usual) = schemes.iter().find(|(known, _)| *known == scheme).ok_or_else(|| {
            let known: Vec<_> = schemes.iter().map(|(scheme, _)| format!("{scheme}://")).collect();
            wrong(&format!("does not begin with {}", known.join(" or ")))
        })?;
        if rest.contains('@') {
            // A password in a URL ends up in logs and on the status page: this sentence must not be the first of them.
            return Err(format!(
                "the URL contains a user; give it as username and password_file, and write the URL like \"{example}\""
            ));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, after)) => (host, Some(after.strip_prefix(':').ok_or_else(|| wrong("has no valid host"))?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let bracketed = authority.starts_with('[');
        let valid = if bracketed {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        if !valid {
            return Err(wrong("has no valid host"));
        }
        let port = match port {
            None => usual,
            Some(digits) => digits
                .parse::<u16>()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong(&format!("has the port \"{digits}\", which is not between 1 and 65535")))?,
        };
        Ok(Self { scheme, host: host.to_owned(), port, path: path.to_owned() })
    }

    /// The host as it stands before a port: IPv6 addresses in brackets.
    pub(crate) fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme, self.bracketed_host(), self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODBUS: &[(&str, u16)] = &[("tcp", 502)];

    #[test]
    fn addresses_read_as_written_or_say_what_is_wrong() {
        let address = Address::parse("tcp://10.0.0.7", MODBUS).unwrap();
        assert_eq!((address.host.as_str(), address.port), ("10.0.0.7", 502));
        assert_eq!(Address::parse("tcp://plc-7.line:1502/x", MODBUS).unwrap().to_string(), "tcp://plc-7.line:1502/x");
        assert_eq!(Address::parse("tcp://[::1]:1502", MODBUS).unwrap().to_string(), "tcp://[::1]:1502");
        for (text, part) in [
            ("10.0.0.7:502", "is not a URL"),
            ("udp://10.0.0.7", "does not begin with tcp://"),
            ("tcp://", "no valid host"),
            ("tcp://:502", "no valid host"),
            ("tcp://a b", "no valid host"),
            ("tcp://[::1", "no valid host"),
            ("tcp://[::1]502", "no valid host"),
            ("tcp://plc:0", "not between 1 and 65535"),
            ("tcp://plc:65536", "not between 1 and 65535"),
            ("tcp://plc:-1", "not between 1 and 65535"),
            ("tcp://me:secret@plc", "contains a user"),
        ] {
            let error = Address::parse(text, MODBUS).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
