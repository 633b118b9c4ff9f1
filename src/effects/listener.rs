//! A listener on an address that a user names.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use crate::effects::host;
use crate::error::{Error, Kind, Result};

/// Returns a listener on an address that a user names.
///
/// # Errors
/// [`Kind::Host`] if the address is not available; [`Kind::Usage`] if it is invalid.
pub fn listen(text: &str) -> Result<TcpListener> {
    let address: SocketAddr = text.parse().map_err(|_| {
        Error::new(
            Kind::Usage,
            format!("`{}` is not an address", text.escape_debug()),
        )
        .hint("write it as 127.0.0.1:8490, [::1]:8490 or 0.0.0.0:8443")
    })?;
    TcpListener::bind(address).map_err(|error| {
        let holder = host::holder(address.port()).filter(|_| error.kind() == ErrorKind::AddrInUse);
        let cause = holder.map_or_else(|| error.to_string(), |holder| format!("held by {holder}"));
        Error::new(Kind::Host, format!("cannot listen on {address}")).cause(cause)
    })
}
