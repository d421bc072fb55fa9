"""The page beyond loopback: by TLS, with a certificate of the site's or one made here, as real clients see it."""

import datetime
import os
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from support import secure
from support.browser import Visit, chromium
from support.cli import explaind, one_sentence
from support.secure import Secure, Site, fingerprint
from support.wait import until

LIBRARY = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"
OURS = secure.own_address()
needs_an_address = pytest.mark.skipif(OURS is None, reason="this machine has no address beyond loopback")


@pytest.fixture
def gateway(tmp_path, running) -> Callable[..., Secure]:
    """Starts a gateway: `gateway()` has made its certificate itself."""

    def start(text: str | None = None, **options) -> Secure:
        made = Secure(tmp_path / "gateway", text or secure.config(tmp_path / "gateway"), **options)
        running.append(made)
        return made.start()

    return start


@pytest.fixture
def site(tmp_path) -> Site:
    """The site's authority."""
    return Site(tmp_path / "site")


def own(certificate: Path, key: Path) -> str:
    """The table that names these."""
    return f'[web.tls]\ncertificate = "{certificate}"\nkey_file = "{key}"'


def names_of(certificate: x509.Certificate) -> set[str]:
    """All names that it is for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


# --- nothing beyond loopback without it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", ["0.0.0.0:8443", "[::]:8443", "192.0.2.2:8443", "[::ffff:192.0.2.2]:8443"])
@pytest.mark.parametrize("verb", ["check", "run"])
def test_beyond_loopback_only_with_tls(tmp_path, verb, listen):
    """One sentence, exit code 78, nothing is listened on."""
    file = tmp_path / "explaind.toml"
    file.write_text(secure.config(tmp_path, tls=""))
    refused = explaind(verb, "--config", file, EXPLAIND__WEB__LISTEN=listen)
    assert refused.code == 78, refused.err
    sentence = one_sentence(refused.err)
    assert "web.listen" in sentence or "EXPLAIND__WEB__LISTEN" in sentence
    assert listen in sentence and "[web.tls]" in sentence
    assert not (tmp_path / "state").exists()


@needs_an_address
def test_the_demos_accounts_stay_on_this_machine(tmp_path):
    """Everybody knows their password."""
    file = tmp_path / "explaind.toml"
    file.write_text(secure.config(tmp_path, demo_accounts="true"))
    refused = explaind("check", "--config", file, EXPLAIND__WEB__LISTEN=f"{OURS}:8443")
    assert refused.code == 78 and "demo_accounts" in one_sentence(refused.err)


# --- made here ----------------------------------------------------------------------------------------------------------


@needs_an_address
def test_one_is_made_at_the_first_start_and_can_be_compared_and_trusted(gateway, tmp_path):
    """The same fingerprint is in the log, in the status, in `check` and at the client; who trusts it needs no exception."""
    made = gateway(host=OURS)
    certificate = made.shown()
    seen = fingerprint(certificate)
    page = made.page()
    assert made.logged_fingerprint() == seen == page["tls"]["sha256"]
    assert page["url"] == f"https://{OURS}:{made.port}/" and page["tls"]["made_here"] is True
    assert seen in made.verb("status").out
    checked = made.configured("check")
    assert checked.code == 0 and seen in checked.out, checked.err
    asked = subprocess.run(
        ["openssl", "s_client", "-connect", f"{OURS}:{made.port}"], input="", capture_output=True, text=True, timeout=30
    )
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"], input=asked.stdout, capture_output=True, text=True
    )
    assert printed.stdout.strip().split("=")[1] == seen, "openssl counts as a tablet does"

    assert names_of(certificate) >= {"localhost", "127.0.0.1", "::1", OURS, socket.gethostname().lower()}
    assert certificate.not_valid_before_utc == datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert certificate.not_valid_after_utc.year == 2049
    assert certificate.public_key().curve.name == "secp256r1"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    folder = made.state / "tls"
    mode = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert mode == {"page.pem": 0o600, "page.crt": 0o644} and stat.S_IMODE(folder.stat().st_mode) == 0o700
    trusting = ssl.create_default_context(cafile=str(folder / "page.crt"))
    for name in (OURS, "localhost", "127.0.0.1"):
        with made.handshake(trusting, name) as connection:
            assert connection.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        made.handshake(trusting, "elsewhere.example")
    with httpx.Client(verify=trusting, base_url=made.url, trust_env=False) as client:
        for path, word in (("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "explaind_source_up"), ("/sign-in", "<form")):
            answer = client.get(path)
            assert answer.status_code == 200 and word in answer.text
            assert "strict-transport-security" not in answer.headers, "whoever makes a new one must be let back in"
        assert client.get("/healthz", headers={"Host": socket.gethostname()}).status_code == 200
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/healthz", headers={"Host": "192.0.2.99"}).status_code == 421


@needs_an_address
def test_where_it_listens_everywhere_it_is_for_each_address(gateway):
    """Each address of the machine is in the certificate, and is a Host that is answered; people are told the name."""
    made = gateway(host=OURS, everywhere=True)
    assert names_of(made.shown()) >= {"localhost", "127.0.0.1", "::1", OURS, socket.gethostname().lower()}
    assert made.page()["url"] == f"https://{socket.gethostname().lower()}:{made.port}/"
    trusting = ssl.create_default_context(cafile=str(made.state / "tls/page.crt"))
    for host in (OURS, "127.0.0.1"):
        assert httpx.get(f"https://{host}:{made.port}/healthz", verify=trusting, trust_env=False).status_code == 200
    crossed = {"Host": f"{OURS}:{made.port}"}
    answer = httpx.get(f"https://127.0.0.1:{made.port}/healthz", verify=trusting, headers=crossed, trust_env=False)
    assert answer.status_code == 421, "only the address that was dialled"


def test_it_stays_over_restarts_and_is_made_anew_for_another_name(gateway, tmp_path):
    """The engineer has compared it once. When the names change it is said, and the one before is kept."""
    made = gateway()
    first = fingerprint(made.shown())
    kept = (made.state / "tls/page.pem").read_bytes()
    assert made.stop() == 0
    made.start()
    assert fingerprint(made.shown()) == first == made.logged_fingerprint()
    made.kill_and_restart()
    assert fingerprint(made.shown()) == first
    assert made.stop() == 0

    made.config.write_text(secure.config(made.folder, hosts='["press-shop.example"]'))
    told = made.configured("check")
    assert told.code == 0 and "press-shop.example" in told.out and first not in told.out
    made.start()
    certificate = made.shown()
    assert fingerprint(certificate) != first and "press-shop.example" in names_of(certificate)
    assert (made.state / "tls/page.old.pem").read_bytes() == kept
    log = made.log()
    assert 'it is not for "press-shop.example"' in log and "page.old.pem" in log
    assert made.logged_fingerprint() == fingerprint(certificate) == made.page()["tls"]["sha256"]
    answer = httpx.get(f"{made.url}/healthz", verify=False, headers={"Host": "press-shop.example"}, trust_env=False)
    assert answer.status_code == 200


def test_one_that_a_power_cut_left_in_pieces_is_made_anew(gateway):
    """The page comes up; what was there is kept."""
    made = gateway()
    first = fingerprint(made.shown())
    assert made.stop() == 0
    file = made.state / "tls/page.pem"
    file.write_bytes(file.read_bytes()[:200])
    (made.state / "tls/page.pem.new").write_bytes(b"half")
    made.start()
    assert fingerprint(made.shown()) != first and "made anew" in made.log()
    assert (made.state / "tls/page.old.pem").stat().st_size == 200


@pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not installed")
def test_a_gateway_that_boots_in_1970_is_trusted_then_and_later(gateway):
    """Its clock says 1970 when the certificate is made; it is valid there, now, and in 20 years."""
    env = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": "@1970-01-01 00:05:00", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    made = gateway(**env)
    assert made.get("status")["gateway"]["now"].startswith("1970-")
    shown = made.state / "tls/page.crt"
    later = int(time.time()) + 20 * 365 * 86400
    for when in (300, int(time.time()), later):
        command = ["openssl", "verify", "-x509_strict", "-attime", str(when), "-purpose", "sslserver", "-CAfile", shown, shown]
        verified = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert verified.returncode == 0, verified.stderr
    with made.handshake(ssl.create_default_context(cafile=str(shown)), "localhost"):
        pass
    assert made.page()["tls"]["not_before"].startswith("1970-01-01T00:00:00")
    assert made.page()["tls"]["ends_soon"] is False


# --- one of the site's own ----------------------------------------------------------------------------------------------


def test_one_of_the_sites_own_is_served_with_its_chain(gateway, site, tmp_path):
    """Who trusts the authority trusts the gateway; browsers are told to insist on TLS."""
    files = site.issue()
    made = gateway(secure.config(tmp_path / "gateway", own(*files)))
    trusting = ssl.create_default_context(cafile=str(site.file))
    with made.handshake(trusting, "localhost") as connection:
        assert connection.version() == "TLSv1.3"
    answer = httpx.get(f"{made.url}/sign-in", verify=trusting, trust_env=False)
    assert answer.status_code == 200 and int(answer.headers["strict-transport-security"].removeprefix("max-age=")) > 86400
    page = made.page()["tls"]
    assert (page["made_here"], page["certificate"]) == (False, str(files[0]))
    assert page["sha256"] == fingerprint(made.shown()) == made.logged_fingerprint()
    assert not (made.state / "tls").exists(), "no other is made"
    checked = made.configured("check")
    assert checked.code == 0 and page["sha256"] in checked.out and str(files[0]) in checked.out


def test_versions_and_protocols(gateway):
    """1.2 and 1.3, nothing older; HTTP/1.1 inside."""
    made = gateway()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        with made.handshake(context) as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"
    command = ["openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{made.port}"]
    old = subprocess.run(command, input="", capture_output=True, text=True, timeout=30)
    assert old.returncode != 0 and "alert" in old.stderr and "Cipher is (NONE)" in old.stdout, old.stderr


@pytest.mark.alone
def test_a_renewed_one_is_taken_up_and_a_broken_one_is_not(gateway, site, tmp_path):
    """Without a restart. What does not fit is told in log, status and an alert."""
    certificate, key = site.issue("live")
    made = gateway(secure.config(tmp_path / "gateway", own(certificate, key)))
    first = fingerprint(made.shown())
    next_certificate, next_key = site.issue("next")
    shutil.copy(next_certificate, certificate)
    told = until(lambda: made.page()["tls"]["error"], "the status to say what is wrong", 90)
    assert str(key) in told and str(certificate) in told
    assert fingerprint(made.shown()) == first == made.page()["tls"]["sha256"]
    assert "goes on with the certificate that was there before" in made.log()

    def raised() -> list[dict]:
        return [alert for alert in made.alerts("_gateway") if alert["model"] == "certificate_ends"]

    alert = until(raised, "the gateway's own alert", 30)[0]
    assert "certificate" in alert["sentence"], alert

    shutil.copy(next_key, key)
    expected = fingerprint(x509.load_pem_x509_certificate(next_certificate.read_bytes()))
    until(lambda: fingerprint(made.shown()) == expected, "the renewed certificate", 60)
    page = made.page()["tls"]
    assert (page["sha256"], page["error"]) == (expected, None)
    assert made.log().count("was renewed") == 1


def test_what_is_wrong_with_the_files_is_said_in_one_sentence(site, tmp_path):
    """At `check` and at the start: which file, and what to do. Nothing is begun."""
    certificate, key = site.issue("fine")
    _, other = site.issue("other")
    folder = tmp_path / "wrong"
    folder.mkdir()
    large, empty, swapped, binary, locked = (folder / name for name in ("large", "empty", "swapped", "binary", "locked"))
    large.write_bytes(b"-" * 300_000)
    empty.write_bytes(b"")
    chain = certificate.read_text().split("-----BEGIN")
    swapped.write_text("-----BEGIN" + chain[2] + "-----BEGIN" + chain[1])
    binary.write_bytes(ssl.PEM_cert_to_DER_cert(site.file.read_text()))
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked], check=True, timeout=30
    )
    damaged = folder / "damaged"
    damaged.write_text(certificate.read_text().replace("MII", "MAA", 1))
    for pair, words in (
        ((folder / "nowhere.pem", key), ("nowhere.pem", "is not there")),
        ((certificate, folder / "nowhere.key"), ("nowhere.key",)),
        ((certificate, other), (str(other), str(certificate), "belong together")),
        ((swapped, key), ("swapped", "first")),
        ((key, certificate), (str(key), "no certificate")),
        ((certificate, certificate), (str(certificate), "no key")),
        ((large, key), ("large", "too large")),
        ((certificate, large), ("large", "too large")),
        ((empty, key), ("empty", "no certificate")),
        ((binary, key), ("binary", "PEM")),
        ((certificate, locked), ("locked", "password")),
        ((damaged, key), ("damaged",)),
        ((folder, key), (str(folder),)),
    ):
        state = tmp_path / "config"
        text = secure.config(state, own(*pair))
        (state / "explaind.toml").write_text(text)
        for verb in ("check", "run"):
            refused = explaind(verb, "--config", state / "explaind.toml")
            assert refused.code == 78, f"{verb} {words}: {refused.code} {refused.err}"
            sentence = one_sentence(refused.err)
            assert "web.tls." in sentence, sentence
            for word in words:
                assert word in sentence, f"{word} in: {sentence}"
            assert key.read_text().splitlines()[1] not in sentence
        assert not (state / "state/buffer").exists()


def test_one_that_has_ended_is_refused_by_check_and_served_all_the_same(gateway, site, tmp_path):
    """A machine must not be unwatched since nobody renewed the page's certificate, or the clock is wrong."""
    files = site.issue("old", begins=-90, ends=-2)
    made = gateway(secure.config(tmp_path / "gateway", own(*files)))
    refused = made.configured("check")
    assert refused.code == 78
    sentence = one_sentence(refused.err)
    assert str(files[0]) in sentence and "ended on" in sentence and "renew" in sentence
    assert f"the certificate {files[0]} ended on" in made.log()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        made.handshake(ssl.create_default_context(cafile=str(site.file)), "localhost")
    assert made.sources()["recorded"]["up"] and fingerprint(made.shown()) == made.page()["tls"]["sha256"]


def test_a_key_that_systemd_hands_over(gateway, site, tmp_path):
    """`key_credential` names a file in the folder that systemd passes."""
    certificate, key = site.issue()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    shutil.copy(key, credentials / "page-key")
    table = f'[web.tls]\ncertificate = "{certificate}"\nkey_credential = "page-key"'
    made = gateway(secure.config(tmp_path / "gateway", table), CREDENTIALS_DIRECTORY=str(credentials))
    with made.handshake(ssl.create_default_context(cafile=str(site.file)), "localhost"):
        pass
    overrides = {name: value for name, value in made.overrides.items() if name != "CREDENTIALS_DIRECTORY"}
    without = explaind("check", "--config", made.config, **overrides)
    assert without.code == 78 and "page-key" in one_sentence(without.err)


# --- who comes without ----------------------------------------------------------------------------------------------------


def test_plain_http_is_sent_to_tls(gateway):
    """A person who forgot the s gets there; what carries more than a question is refused; nonsense is cut off."""
    made = gateway()
    plain = made.url.replace("https", "http")
    with httpx.Client(trust_env=False, timeout=10) as client:
        sent = client.get(f"{plain}/alerts?state=open")
        assert (sent.status_code, sent.headers["location"]) == (307, f"{made.url}/alerts?state=open")
        assert "set-cookie" not in sent.headers
        secret = client.post(f"{plain}/sign-in", data={"user": "x", "password": "y"})
        assert secret.status_code == 400 and "https" in secret.text
        assert client.get(plain, headers={"Host": "evil.example"}).status_code == 421, "no way to send people elsewhere"
    for nonsense in (b"\x00\x01\x02\x03" * 20, b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05hello"):
        with socket.create_connection(("127.0.0.1", made.port), timeout=20) as raw:
            raw.sendall(nonsense)
            raw.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: raw.recv(4096), b""))
            assert len(answer) < 600 and b"explaind" not in answer, answer
    assert made.ready()


def test_the_session_is_bound_to_this_host_and_to_tls(gateway, tmp_path):
    """`__Host-` and `Secure`: neither another host of the domain nor a page without TLS can plant or see it."""
    made = gateway(secure.config(tmp_path / "gateway", demo_accounts="true"))
    with httpx.Client(verify=False, base_url=made.url, trust_env=False) as client:
        form = {"user": "technician", "password": "demo"}
        signed_in = client.post("/sign-in", data=form, headers={"Origin": made.url})
        assert signed_in.status_code == 303
        cookie = signed_in.headers["set-cookie"]
        assert cookie.startswith("__Host-explaind_session=")
        for part in ("; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"):
            assert part in cookie
        assert "Domain" not in cookie
        assert client.get("/api/v1/alerts").status_code == 200
        token = cookie.split(";")[0].split("=")[1]
    with httpx.Client(verify=False, base_url=made.url, trust_env=False) as other:
        planted = other.get("/api/v1/alerts", headers={"Cookie": f"explaind_session={token}"})
        assert planted.status_code == 401
        assert other.get("/api/v1/alerts", headers={"Cookie": f"__Host-explaind_session={token}"}).status_code == 200


def test_a_browser_works_by_tls(gateway, tmp_path):
    """Chromium warns of a certificate that nobody vouches for; once accepted everything works, events included."""
    made = gateway(secure.config(tmp_path / "gateway", demo_accounts="true"))
    with chromium() as browser:
        stranger = Visit(browser, made.url)
        with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
            stranger.page.goto("/")
        stranger.close()
        visit = Visit(browser, made.url, ignore_https_errors=True)
        visit.page.goto("/")
        visit.page.fill("input[name=user]", "technician")
        visit.page.fill("input[name=password]", "demo")
        visit.page.click("button[type=submit]")
        visit.page.wait_for_url(f"{made.url}/")
        cookies = {cookie["name"]: cookie for cookie in visit.context.cookies()}
        assert cookies["__Host-explaind_session"]["secure"] and cookies["__Host-explaind_session"]["httpOnly"]
        assert visit.elsewhere() == [] and visit.complaints == []
        visit.close()


def test_handshakes_that_nobody_finishes_keep_nobody_out(gateway):
    """400 half handshakes from one address; another one and this one still get in, and the halves are ended."""
    made = gateway()
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    halves = []
    for _ in range(400):
        half = socket.create_connection(("127.0.0.1", made.port), timeout=10)
        half.sendall(hello)
        halves.append(half)
    begun = time.monotonic()
    for source in ("127.0.0.2", "127.0.0.1"):
        raw = socket.create_connection(("127.0.0.1", made.port), timeout=10, source_address=(source, 0))
        context = ssl.create_default_context(cafile=str(made.state / "tls/page.crt"))
        with context.wrap_socket(raw, server_hostname="localhost") as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - begun < 5

    def ended() -> bool:
        return all(is_closed(half) for half in halves)

    until(ended, "the halves to be ended", 30)
    for half in halves:
        half.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end has hung up."""
    connection.setblocking(False)
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
