//! The addresses of a host's name.

use std::io;
use std::net::IpAddr;

/// Returns the addresses of a name, or the address that the text is.
///
/// # Errors
/// When no name service answers, or the name has no address.
pub(super) async fn addresses_of(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // Not the C library's resolver: a static binary cannot load its plugins.
    let resolver = hickory_resolver::Resolver::builder_tokio()
        .and_then(hickory_resolver::ResolverBuilder::build)
        .map_err(io::Error::other)?;
    let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
    Ok(found.iter().collect())
}
