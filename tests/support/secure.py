"""A gateway whose page is served by TLS, and the certificates that a site would give it."""

import datetime
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import ports, scene
from .daemon import Daemon

ROWS = [{"torque": 40.0}, {"torque": 41.0}]


def config(folder: Path, tls: str = "[web.tls]", **web: str) -> str:
    """A gateway that only records, with its page by TLS; `web` are further keys of `[web]`."""
    folder.mkdir(parents=True, exist_ok=True)
    source, inputs = scene.recorded(folder, ROWS, "200ms")
    lines = "\n".join(f"{key} = {value}" for key, value in web.items())
    head = scene.head().replace("demo_accounts = true", lines)
    asset = f'[[asset]]\nid = "press-7"\npass_through = true\nevery = "1s"\n[asset.inputs]\n{scene.bound(inputs)}'
    return f"{head}\n{tls}\n{source}\n{asset}\n"


def own_address() -> str | None:
    """An address of this machine beyond loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if ipaddress.ip_address(address).is_loopback else address


class Secure(Daemon):
    """A gateway that is reached by TLS at this address, and listens there or everywhere."""

    def __init__(self, folder: Path, text: str, host: str = "127.0.0.1", *, everywhere: bool = False, **env: str):
        port = ports.free()
        super().__init__(folder, text, EXPLAIND__WEB__LISTEN=f"{'0.0.0.0' if everywhere else host}:{port}", **env)
        self.host = host
        self.port = port
        self.url = f"https://{host}:{port}"

    def _listens(self) -> bool:
        if self.child is not None and self.child.poll() is not None:
            code, self.child = self.child.returncode, None
            raise RuntimeError(f"it ended with {code}:\n{self.log()[-4000:]}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex((self.host, self.port)) == 0

    def ready(self) -> bool:
        """Whether `/readyz` says so, whoever vouches for it."""
        assert self.child is not None and self.child.poll() is None, f"the daemon ended:\n{self.log()[-4000:]}"
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5, verify=False, trust_env=False)
        except httpx.TransportError as error:
            raise OSError(str(error)) from error
        assert answer.status_code == 200, answer.text
        return True

    def shown(self) -> x509.Certificate:
        """The certificate that a client sees."""
        return x509.load_der_x509_certificate(self.handshake().getpeercert(binary_form=True))

    def handshake(self, context: ssl.SSLContext | None = None, name: str | None = None) -> ssl.SSLSocket:
        """A connection by TLS; without a context, whoever vouches for it."""
        if context is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        raw = socket.create_connection((self.host, self.port), timeout=10)
        return context.wrap_socket(raw, server_hostname=name or self.host)

    def page(self) -> dict:
        """What the status says of the page."""
        return self.get("status")["page"]

    def logged_fingerprint(self) -> str:
        """The fingerprint that the log shows for the last start."""
        return re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", self.log())[-1]


def fingerprint(certificate: x509.Certificate) -> str:
    """As browsers show it."""
    return ":".join(f"{byte:02X}" for byte in certificate.fingerprint(hashes.SHA256()))


@dataclass
class Site:
    """The site's authority."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Plant authority")])
        built = (
            self._begun(self.name, self.key.public_key(), -1, 3650)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )  # fmt: skip
        self.certificate = built.sign(self.key, hashes.SHA256())
        self.file = self.folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _begun(self, subject: x509.Name, key, begins: float, ends: float) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        begins, ends = (now + datetime.timedelta(days=days) for days in (begins, ends))
        return builder.not_valid_before(begins).not_valid_after(ends)

    def issue(self, name: str = "gateway", begins: float = -1, ends: float = 90) -> tuple[Path, Path]:
        """A certificate for localhost and 127.0.0.1, and its key; from and to so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        signer = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        built = (
            self._begun(subject, key.public_key(), begins, ends)
            .add_extension(names, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain = built.public_bytes(serialization.Encoding.PEM) + self.file.read_bytes()
        files[0].write_bytes(chain)
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files
