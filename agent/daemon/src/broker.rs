//! An MQTT broker: where it is, who we are there, and what is said when it does not let us in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{ConnectReturnCode, ConnectionError, MqttOptions, StateError, TlsConfiguration, Transport};
use serde::Deserialize;
use toml::Table;

use crate::address::Address;
use crate::secret::Secret;

/// A silent broker is found out within twice this time.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A key, and what is wrong with its value.
type Fault = (String, String);

/// How to reach a broker. It has these keys wherever one is named.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broker {
    url: Url,
    /// What the broker knows this client as.
    client_id: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    password_credential: Option<String>,
    /// Certificates that vouch for the broker, in PEM; the system's where it is not given.
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Url(Address);

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = Address::parse(&text, &[("mqtt", 1883), ("mqtts", 8883)])?;
        if address.path.len() > 1 {
            return Err(format!("\"{text}\" has a path, which MQTT has no use for; leave it out"));
        }
        if address.scheme == "mqtts" && address.host.contains(':') {
            return Err(format!("\"{text}\" names an IPv6 address; with TLS give the host name in the certificate"));
        }
        Ok(Self(address))
    }
}

impl Url {
    fn is_tls(&self) -> bool {
        self.0.scheme == "mqtts"
    }
}

impl Broker {
    /// Reads its keys, which must be all that there are. Relative paths are relative to `base`.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub(crate) fn parse(table: Table, base: &Path) -> Result<Self, Fault> {
        let mut broker: Self = serde_path_to_error::deserialize(table).map_err(|error| {
            let path = error.path().to_string();
            (if path == "." { String::new() } else { path }, error.into_inner().message().trim_end().to_owned())
        })?;
        for path in [&mut broker.password_file, &mut broker.ca_file].into_iter().flatten() {
            *path = base.join(&*path);
        }
        let wrong = |key: &str, message: &str| Err((key.to_owned(), message.to_owned()));
        if broker.password_file.is_some() && broker.password_credential.is_some() {
            return wrong("password_credential", "give it or password_file, not both");
        }
        if broker.username.is_none() && broker.password().is_some() {
            return wrong("username", "is missing; a password is of no use without it");
        }
        if broker.ca_file.is_some() && !broker.url.is_tls() {
            return wrong("ca_file", "is of no use without TLS; write the url with mqtts://");
        }
        if broker.client_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 256) {
            return wrong("client_id", "must have between 1 and 256 bytes");
        }
        Ok(broker)
    }

    /// The files that it names can be read.
    ///
    /// # Errors
    /// The key of the first that cannot.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if let (Some(_), Some(secret)) = (&self.password_file, self.password()) {
            secret.read().map_err(|message| ("password_file".to_owned(), message))?;
        }
        if let Some(path) = &self.ca_file {
            crate::tls::roots(path).map_err(|message| ("ca_file".to_owned(), message))?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Address {
        &self.url.0
    }

    /// The client id that is configured.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The options of one connection, in which no packet is larger than `largest`. Files are read anew each time, so that
    /// a changed password or certificate needs no restart.
    ///
    /// # Errors
    /// A file that cannot be read, in a sentence.
    pub(crate) fn options(&self, client_id: String, largest: usize) -> Result<MqttOptions, String> {
        let address = self.address();
        let mut options = MqttOptions::new(client_id, address.bracketed_host(), address.port);
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(largest, largest);
        if let Some(username) = &self.username {
            let password = self.password().map(|secret| secret.read()).transpose()?;
            options.set_credentials(username, password.unwrap_or_default());
        }
        if self.url.is_tls() {
            let tls = crate::tls::configuration(self.ca_file.as_deref())?;
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
        }
        Ok(options)
    }

    /// Why there is no connection, or none any more, in a sentence. `spoke`: it has been seen to speak MQTT.
    pub(crate) fn explain(&self, error: &ConnectionError, spoke: bool) -> String {
        let address = self.address();
        match error {
            ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword) => {
                format!("{address} refuses the user name or password")
            }
            ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized) => {
                format!("{address} lets only known users in; check username and password_file")
            }
            ConnectionError::ConnectionRefused(ConnectReturnCode::BadClientId) => {
                format!("{address} refuses the client id; give another client_id, of at most 23 letters and digits")
            }
            ConnectionError::ConnectionRefused(code) => format!("{address} refuses the connection: {code:?}"),
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
                format!("no answer from {address} in time")
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) => format!("{address} has fallen silent"),
            ConnectionError::MqttState(StateError::ConnectionAborted) => format!("{address} closed the connection"),
            ConnectionError::MqttState(StateError::Deserialization(rumqttc::Error::PayloadSizeLimitExceeded(size))) => {
                format!("a message of {size} bytes came from {address}, more than is taken in")
            }
            ConnectionError::MqttState(StateError::Deserialization(error)) => {
                let hint = if spoke { "" } else { "; is it an MQTT broker, and does it want TLS (mqtts://)?" };
                format!("lost {address}: {error}{hint}")
            }
            ConnectionError::Io(error) => format!("cannot connect to {address}: {error}"),
            ConnectionError::Tls(error) => format!("no trusted TLS connection to {address}: {error}"),
            error => format!("lost {address}: {error}"),
        }
    }

    fn password(&self) -> Option<Secret> {
        let file = self.password_file.clone().map(Secret::File);
        file.or_else(|| self.password_credential.clone().map(Secret::Credential))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_configuration() {
        let toml = "url='mqtts://b'\nusername='u'\npassword_file='p'\nca_file='/ca'";
        let broker = Broker::parse(toml.parse().unwrap(), Path::new("/etc/explaind")).unwrap();
        assert_eq!(broker.password_file.as_deref(), Some(Path::new("/etc/explaind/p")));
        assert_eq!(broker.ca_file.as_deref(), Some(Path::new("/ca")));
        assert_eq!(broker.check().unwrap_err().0, "password_file");
    }
}
