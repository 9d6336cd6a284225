"""Certificates for sites that have made their private keys themselves, and keep them."""

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from polyrank.errors import FederationError

LEAST = 2048  # bits of a key


def read_request(path: Path, sites: Sequence[str]) -> tuple[str, RSAPublicKey]:
    """Read a request for a certificate (PKCS #10, PEM); return its site and public key.

    Raises:
        FederationError: it cannot be read, names no site, or its key is not one that NVFlare takes.
    """
    try:
        request = x509.load_pem_x509_csr(path.read_bytes())
        key, good = request.public_key(), request.is_signature_valid
    except (OSError, ValueError) as error:
        raise FederationError(f"{path}: expected a request for a certificate: {error}") from error
    if not good:
        raise FederationError(f"{path}: expected a request signed with its own key")
    named = [
        str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if len(named) != 1 or named[0] not in sites:
        raise FederationError(
            f"{path}: expected the name of one site, of {', '.join(sites)}, as its common name "
            f"(CN), got {', '.join(named) or 'none'}"
        )
    if not isinstance(key, RSAPublicKey) or key.key_size < LEAST:
        raise FederationError(f"{path}: expected an RSA key of at least {LEAST} bits")
    return named[0], key


def sign_for(kit: Path, key: RSAPublicKey, authority: str) -> None:
    """Put another public key into the certificate of a site's kit, and remove the private one.

    Args:
        kit: folder of the site's files, as NVFlare has made them.
        key: that the site has made.
        authority: private key of the authority, PEM.
    """
    path = kit / "startup" / "client.crt"
    made = x509.load_pem_x509_certificate(path.read_bytes())
    issuer = load_pem_private_key(authority.encode(), None)
    assert isinstance(issuer, RSAPrivateKey)
    new = x509.CertificateBuilder(
        made.issuer,
        made.subject,
        key,
        x509.random_serial_number(),
        made.not_valid_before_utc,
        made.not_valid_after_utc,
    )
    for extension in made.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectKeyIdentifier):
            value = x509.SubjectKeyIdentifier.from_public_key(key)
        new = new.add_extension(value, extension.critical)
    signed = new.sign(issuer, made.signature_hash_algorithm or hashes.SHA256())
    path.write_bytes(signed.public_bytes(Encoding.PEM))
    path.with_suffix(".key").unlink()
