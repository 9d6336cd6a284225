"""Whether a kit may be used now: its dates, its key, and who can read that."""

import stat
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from polyrank.engines.nvflare.kits import Kit
from polyrank.errors import FederationError


def check_kit(kit: Kit) -> None:
    """Check a kit's certificate against this host's clock, and that only its owner has its key.

    Raises:
        FederationError: it has expired, is not valid yet, or its key is missing, another one, or
            one that others can read.
    """
    now = datetime.now(UTC)
    for path in (kit.certificate, kit.path / "startup" / "rootCA.pem"):
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise FederationError(f"{path}: expected a certificate: {error}") from error
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now > ends:
            raise FederationError(
                f"{path}: expired on {ends:%Y-%m-%d %H:%M} UTC, and this host's clock says "
                f"{now:%Y-%m-%d %H:%M}: ask for a new kit, or set the clock"
            )
        if now < begins:
            raise FederationError(
                f"{path}: not valid before {begins:%Y-%m-%d %H:%M} UTC, and this host's clock "
                f"says {now:%Y-%m-%d %H:%M}: set the clock"
            )
    try:
        mode = kit.key.stat().st_mode
        own = load_pem_private_key(kit.key.read_bytes(), None).public_key()
    except (OSError, ValueError, TypeError) as error:
        raise FederationError(
            f"{kit.key}: expected a private key, which a site that has made its own puts there: "
            f"{error}"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise FederationError(
            f"{kit.key}: expected a key that its owner alone can read (mode 0600), got "
            f"{stat.S_IMODE(mode):04o}"
        )
    if own != x509.load_pem_x509_certificate(kit.certificate.read_bytes()).public_key():
        raise FederationError(f"{kit.key}: expected the key of {kit.certificate}, got another")
