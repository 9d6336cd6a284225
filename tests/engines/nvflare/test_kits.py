"""Kits: who can read them, what they allow, and when they are refused."""

import json
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("nvflare", reason="NVFlare is not installed: pip install 'polyrank[nvflare]'")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from polyrank.engines.nvflare import validity
from polyrank.engines.nvflare.kits import Hosts, Kit, make_kits, open_kit
from polyrank.engines.nvflare.validity import check_kit
from polyrank.errors import FederationError

HOSTS = Hosts("localhost", 8102, ["clinic-a", "clinic-b"], days=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kits")
    make_kits(HOSTS, out)
    return out


@pytest.fixture
def kit(made: Path, tmp_path: Path) -> Kit:
    shutil.copytree(made / "clinic-a", tmp_path / "clinic-a")
    return open_kit(tmp_path / "clinic-a", "site")


def test_every_host_has_a_kit_with_one_key_that_only_its_owner_can_read(made: Path):
    assert {p.name for p in made.iterdir()} == {
        "server",
        "admin",
        "clinic-a",
        "clinic-b",
        "authority",
    }
    for host in ("server", "admin", "clinic-a", "clinic-b"):
        keys = list((made / host).rglob("*.key"))
        assert len(keys) == 1
        for path in (*keys, *(made / host / "local").glob("*.json")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE((made / host).stat().st_mode) == 0o700


def test_the_authority_keeps_no_key_of_a_host(made: Path):
    path = made / "authority" / "cert.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    held = path.read_text()
    for host in ("server", "admin", "clinic-a"):
        key = next((made / host).rglob("*.key")).read_text().splitlines()[1]
        assert key not in held


def test_no_host_takes_code_or_classes_but_ours(made: Path):
    for host, own in (("server", "RunController"), ("clinic-a", "SiteExecutor")):
        rights = json.loads((made / host / "local" / "authorization.json").read_text())
        admin = rights["permissions"]["project_admin"]
        assert admin["byoc"] == admin["shell_commands"] == admin["download_job"] == "none"
        allowed = json.loads((made / host / "local" / "resources.json").read_text())
        assert allowed["class_list_enforcement_mode"] == "enforce"
        ours, nvflares = allowed["class_allow_list"]
        assert ours.endswith(own)
        assert ".job_log_" in nvflares


def test_no_sample_of_looser_policies_is_left(made: Path):
    assert not [p for p in made.rglob("*") if p.suffix in (".sample", ".sh")]
    assert {p.name for p in made.rglob("*.default")} == {"log_config.json.default"}


def test_a_site_is_added_by_the_same_authority_and_others_stay(made: Path, tmp_path: Path):
    out = tmp_path / "kits"
    shutil.copytree(made, out)
    before = (out / "clinic-a" / "startup" / "client.key").read_bytes()
    new = make_kits(Hosts("localhost", 8102, [*HOSTS.sites, "clinic-c"], days=2), out)
    assert [kit.name for kit in new] == ["clinic-c"]
    assert (out / "clinic-a" / "startup" / "client.key").read_bytes() == before
    roots = {
        (out / site / "startup" / "rootCA.pem").read_bytes() for site in ("clinic-a", "clinic-c")
    }
    assert len(roots) == 1


def asked_by(site: str, path: Path, bits: int = 2048) -> tuple[rsa.RSAPrivateKey, Path]:
    """Make a key and a request, as openssl does."""
    key = rsa.generate_private_key(65537, bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    request = x509.CertificateSigningRequestBuilder(name).sign(key, hashes.SHA256())
    path.write_bytes(request.public_bytes(Encoding.PEM))
    return key, path


def test_a_site_may_make_its_own_key_and_nobody_else_has_it(made: Path, tmp_path: Path):
    out = tmp_path / "kits"
    shutil.copytree(made, out)
    key, request = asked_by("clinic-c", tmp_path / "clinic-c.csr")
    hosts = Hosts("localhost", 8102, [*HOSTS.sites, "clinic-c"], days=2)
    (new,) = make_kits(hosts, out, [request])
    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    own = {line for line in text.splitlines() if not line.startswith(b"-----")}
    for path in out.rglob("*"):
        assert not path.is_file() or not own & {*path.read_bytes().splitlines()}, path
    assert not list((out / "clinic-c").rglob("*.key"))
    with pytest.raises(FederationError, match=r"expected a private key, which a site that has"):
        check_kit(new)

    new.key.touch(mode=0o600)
    new.key.write_bytes((out / "clinic-a" / "startup" / "client.key").read_bytes())
    with pytest.raises(FederationError, match=r"expected the key of .*client\.crt, got another"):
        check_kit(new)
    new.key.write_bytes(text)
    check_kit(new)
    certificate, other, root = (
        x509.load_pem_x509_certificate((out / name).read_bytes())
        for name in (
            "clinic-c/startup/client.crt",
            "clinic-a/startup/client.crt",
            "clinic-c/startup/rootCA.pem",
        )
    )
    certificate.verify_directly_issued_by(root)
    for at in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        same = [c.subject.get_attributes_for_oid(at) for c in (certificate, other)]
        assert len(same[0]) == len(same[1]) == 1
    assert [e.oid for e in certificate.extensions] == [e.oid for e in other.extensions]
    assert certificate.not_valid_after_utc <= root.not_valid_after_utc


@pytest.mark.parametrize(
    ("site", "bits", "said"),
    [
        ("clinic-x", 2048, "of one site, of clinic-a, clinic-b, .*got clinic-x"),
        ("clinic-a", 1024, "at least 2048 bits"),
        ("clinic-a", 2048, "expected no kit of a site that asks for one"),
    ],
)
def test_a_request_that_cannot_be_granted_is_refused(
    made: Path, tmp_path: Path, site: str, bits: int, said: str
):
    _, request = asked_by(site, tmp_path / "a.csr", bits)
    with pytest.raises(FederationError, match=said):
        make_kits(HOSTS, made, [request])
    request.write_text("none")
    with pytest.raises(FederationError, match="expected a request for a certificate"):
        make_kits(HOSTS, made, [request])


def test_a_kit_of_another_host_or_none_is_refused(made: Path, tmp_path: Path):
    with pytest.raises(FederationError, match="expected the kit of a server, got that of a site"):
        open_kit(made / "clinic-a", "server")
    with pytest.raises(FederationError, match="expected a kit"):
        open_kit(tmp_path, "site")


def test_a_kit_is_good_today(kit: Kit):
    check_kit(kit)


@pytest.mark.parametrize(("days", "said"), [(3, "expired on"), (-3, "not valid before")])
def test_an_expired_kit_and_a_clock_that_is_off_are_refused(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, days: int, said: str
):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) + timedelta(days=days)

    monkeypatch.setattr(validity, "datetime", Clock)
    with pytest.raises(FederationError, match=rf"{said}.*clock"):
        check_kit(kit)


def test_a_key_that_others_can_read_is_refused(kit: Kit):
    kit.key.chmod(0o640)
    with pytest.raises(FederationError, match=r"mode 0600.*got 0640"):
        check_kit(kit)


def test_certificates_hold_as_long_as_was_asked(kit: Kit):
    certificate = x509.load_pem_x509_certificate(kit.certificate.read_bytes())
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=1) < left <= timedelta(days=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server = 'x'\nport = 1\nsites = ['server']", "site 'server'"),
        ("server = 'x'\nport = 1\nsites = ['0']", "site '0'"),
        ("server = 'x'\nport = 1\nsites = ['a', 'a']", "different names"),
        ("server = 'x'\nport = 0\nsites = ['a']", "port = 0"),
        ("server = 'x'\nport = '1'\nsites = ['a']", "expected int"),
        ("server = 'x y'\nport = 1\nsites = ['a']", "host's name"),
        ("server = 'x'\nsites = ['a']", "expected port"),
        ("server = 'x'\nport = 1\nsties = ['a']", r"sties \(did you mean 'sites'\?\)"),
        ("server = ", "cannot be read"),
    ],
)
def test_a_file_of_hosts_that_cannot_be_used_is_named(tmp_path: Path, text: str, said: str):
    path = tmp_path / "sites.toml"
    path.write_text(text)
    with pytest.raises(FederationError, match=said):
        Hosts.read(path)
