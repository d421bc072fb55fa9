"""The way to a real MLflow server as plants have it: users, tokens, a private CA, proxies, slow lines, busy servers."""

from collections.abc import Iterator

import pytest

from support import scene
from support.gate import Authority, Gate
from support.mlflow import MLflow, all_uploaded, in_mlflow, uploaded, without_registry
from support.wait import until


@pytest.fixture
def gate() -> Iterator:
    """Makes gates, and closes them after the test."""
    gates = []

    def make(*arguments, **options) -> Gate:
        gates.append(Gate(*arguments, **options))
        return gates[-1]

    yield make
    for each in gates:
        each.close()


@pytest.fixture
def authority(tmp_path) -> Authority:
    """The plant's own certificate authority."""
    return Authority(tmp_path / "ca", "plant")


def trusting(authority: Authority) -> dict[str, str]:
    """The setting that has a gateway trust it."""
    return {"EXPLAIND__REGISTRY__CA_FILE": str(authority.file)}


def started(daemon, bundle, tmp_path, name: str, url: str, interval: str = "40ms", **more: str):
    """A gateway of this name whose registry is there."""
    return daemon(without_registry(scene.replay(tmp_path, bundle(), interval=interval), name), **in_mlflow(url, **more))


def arrives(gateway, mlflow, name: str, least: int = 20, seconds: float = 90) -> list[int]:
    """Waits until so many predictions are there; returns the numbers of all that are, each once and in order."""
    until(lambda: uploaded(gateway, "predictions") > least, "batches to arrive", seconds)
    assert gateway.stop() == 0
    numbers = mlflow.read(name)["streams"]["predictions"]
    assert numbers == list(range(1, len(numbers) + 1))
    return numbers


def refused(gateway, *words: str) -> str:
    """What the status says of a registry that cannot be used, in one sentence; and the probe says the same."""
    error = until(lambda: gateway.get("status")["sync"]["error"], "sync to fail", 60)
    probed = gateway.configured("check", "--probe")
    assert probed.code == 69, probed
    for word in words:
        assert word in error and word in probed.out, (word, error, probed.out)
    assert "\n" not in error and uploaded(gateway, "predictions") == 0
    return error


def test_users_and_passwords(daemon, bundle, tmp_path):
    """MLflow's own: a user that it knows gets in and fills the run; a wrong password is named, and tried again."""
    server = MLflow(tmp_path / "mlflow", admin="a long password")
    password = tmp_path / "password"
    password.write_text("a wrong one\n")
    try:
        server.start(120)
        user = {"EXPLAIND__REGISTRY__USERNAME": "line-3", "EXPLAIND__REGISTRY__PASSWORD_FILE": str(password)}
        server.create_user("line-3", "another long password")
        # Slowly, so that what gathers while it is refused is sent before the stop: the newest goes before the backlog.
        gateway = started(daemon, bundle, tmp_path, "by-name", server.url, interval="400ms", **user)
        error = refused(gateway, "401", "username and password")
        assert "a wrong one" not in error + gateway.log(), "a secret in the open"
        password.write_text("another long password\n")
        assert gateway.configured("check", "--probe").code == 0
        until(lambda: gateway.get("status")["sync"]["state"] == "online", "the backlog to arrive", 90)
        arrives(gateway, server, "by-name")
        assert "another long password" not in gateway.log()
    finally:
        server.close()


def test_a_token_over_tls_with_a_private_ca(daemon, bundle, tmp_path, mlflow, gate, authority):
    """With the right CA and the right token it goes through; each of the two alone does not, and says why."""
    token = tmp_path / "token"
    token.write_text("wrong\n")
    front = gate(mlflow.port, authority.certificate(), "Bearer s3cret-token")
    secret = {"EXPLAIND__REGISTRY__TOKEN_FILE": str(token)}
    other = Authority(tmp_path / "other", "somebody")
    stranger = started(daemon, bundle, tmp_path, "by-token", front.url, **secret, **trusting(other))
    refused(stranger, "UnknownIssuer", f"not signed by one in {other.file}")
    assert not front.asked, "no request, and no token, went to a server that nobody vouches for"
    assert stranger.stop() == 0
    stranger.env.pop("EXPLAIND__REGISTRY__CA_FILE")
    stranger.overrides.pop("EXPLAIND__REGISTRY__CA_FILE")
    stranger.start()
    refused(stranger, "give its CA's certificate as ca_file")
    assert stranger.stop() == 0 and not front.asked

    for where in (stranger.env, stranger.overrides):
        where.update(trusting(authority))
    gateway = stranger.start()
    refused(gateway, "401", "or the token")
    token.write_text("s3cret-token\n")
    assert gateway.configured("check", "--probe").code == 0
    arrives(gateway, mlflow, "by-token")
    assert "s3cret-token" not in gateway.log()


def test_a_certificate_for_another_name(daemon, bundle, tmp_path, mlflow, gate, authority):
    """The CA is right, the name is not."""
    front = gate(mlflow.port, authority.certificate("DNS:elsewhere.example"))
    gateway = started(daemon, bundle, tmp_path, "misnamed", front.url, **trusting(authority))
    refused(gateway, "for another name")
    assert not front.asked


@pytest.mark.parametrize("by", ["environment", "key"])
def test_a_proxy(daemon, bundle, tmp_path, mlflow, gate, authority, by: str):
    """By the environment or by its key, with TLS all the way through it."""
    front, proxy = gate(mlflow.port, authority.certificate()), gate()
    how = {"HTTPS_PROXY": proxy.url} if by == "environment" else {"EXPLAIND__REGISTRY__PROXY": proxy.url}
    # Another HTTPS_PROXY of whoever runs the tests must not decide.
    how = {"NO_PROXY": "", "no_proxy": "", "https_proxy": how.get("HTTPS_PROXY", ""), **how}
    gateway = started(daemon, bundle, tmp_path, f"proxied-{by}", front.url, **trusting(authority), **how)
    assert gateway.configured("check", "--probe").code == 0
    arrives(gateway, mlflow, f"proxied-{by}")
    assert proxy.asked and {asked.path for asked in proxy.asked} == {f"127.0.0.1:{front.port}"}
    assert {asked.method for asked in proxy.asked} == {"CONNECT"}, "it sees where to, and no more"


def test_no_proxy(daemon, bundle, tmp_path, mlflow, gate):
    """Addresses that NO_PROXY names are reached without it; plain HTTP goes by HTTP_PROXY otherwise."""
    proxy = gate()
    how = {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    gateway = started(daemon, bundle, tmp_path, "direct", mlflow.url, **how)
    until(lambda: uploaded(gateway, "predictions") > 20, "batches to arrive", 60)
    assert not proxy.asked
    assert gateway.stop() == 0
    for where in (gateway.env, gateway.overrides):
        where.update({"NO_PROXY": "", "no_proxy": ""})
    gateway.start()
    arrives(gateway, mlflow, "direct", uploaded(gateway, "predictions") + 20)
    assert proxy.asked and all(asked.path.startswith(mlflow.url) for asked in proxy.asked)


def test_a_proxy_that_is_gone(daemon, bundle, tmp_path, mlflow):
    """It is said, and nothing goes around it."""
    gateway = started(
        daemon, bundle, tmp_path, "behind", mlflow.url, EXPLAIND__REGISTRY__PROXY="http://127.0.0.1:9", NO_PROXY=""
    )
    refused(gateway, mlflow.url, "refused")


def test_no_more_bytes_than_are_allowed(daemon, bundle, tmp_path, mlflow, gate):
    """`max_rate` holds within a batch and over many of them: no two seconds have more than it allows, by much."""
    front, rate = gate(mlflow.port), 8192
    more = {"EXPLAIND__SYNC__BATCH_RECORDS": "200", "EXPLAIND__SYNC__BATCH_AGE": "1h"}
    gateway = started(daemon, bundle, tmp_path, "slow", "http://127.0.0.1:9", "2ms", **more)
    until(lambda: gateway.predictions(1)[0]["sequence"] > 1000, "records to wait", 60)
    assert gateway.stop() == 0
    for where in (gateway.env, gateway.overrides):
        where.update({"EXPLAIND__REGISTRY__URL": front.url, "EXPLAIND__REGISTRY__MAX_RATE": f"{rate}B"})
    gateway.start()
    until(lambda: sum(size for _, size in front.taken) > 10 * rate, "ten seconds' worth of bytes", 120)
    taken = list(front.taken)
    begun, total = taken[0][0], sum(size for _, size in taken)
    took = taken[-1][0] - begun
    busiest = max(sum(size for at, size in taken if start <= at < start + 2) for start, _ in taken)
    print(f"{total} bytes in {took:.1f} s at {rate} bytes a second; at most {busiest} in two seconds")
    assert total <= rate * (took + 1), "more than is allowed"
    assert busiest <= 2 * rate * 1.5, "more than is allowed within two seconds"
    # Questions and the time of the server are not counted, so it may be slower, but not by much.
    assert total >= rate * took * 0.5, "less than it could be"
    assert max(size for _, size in taken) <= 4096


def test_a_line_as_slow_as_a_modem(daemon, bundle, tmp_path, mlflow, gate):
    """A batch gets through that takes longer than most servers are waited for, once, and not again and again."""
    front = gate(mlflow.port, rate=1500)
    more = {"EXPLAIND__SYNC__BATCH_RECORDS": "2000", "EXPLAIND__SYNC__BATCH_AGE": "1h"}
    gateway = started(daemon, bundle, tmp_path, "modem", front.url, "1ms", **more)
    until(lambda: uploaded(gateway, "predictions") >= 2000, "a large batch to arrive", 280)
    [put] = [asked for asked in front.asked if asked.method == "PUT" and "/predictions/" in asked.path and asked.answered]
    done = max(at for at, _ in front.taken)
    print(f"one batch took {done - put.at:.0f} s")
    assert done - put.at > 60 and put.answered == 200


def test_a_server_that_asks_for_patience(daemon, bundle, tmp_path, mlflow, gate):
    """It is left alone for as long as it asks; and what it asks for is no more than ten minutes."""
    front = gate(mlflow.port)
    gateway = started(daemon, bundle, tmp_path, "patient-one", front.url)
    until(lambda: uploaded(gateway, "predictions") > 20, "batches to arrive", 60)
    front.refusals = [(503, "6"), (429, "4")]
    until(lambda: not front.refusals, "both refusals", 60)
    said = gateway.get("status")["sync"]["error"]
    assert "429" in said and "come back later" in said, said
    until(lambda: gateway.get("status")["sync"]["error"] is None, "sync to go on", 60)
    times = [asked for asked in front.asked if asked.answered]
    for number, asked in enumerate(times):
        if asked.answered in (503, 429):
            waited = times[number + 1].at - asked.at
            least = 6 if asked.answered == 503 else 4
            # Beside what the server asks for there is the back-off of our own, of two seconds at most by then.
            assert least <= waited < least + 4, f"{asked.answered}: came back after {waited:.1f} s"
    until(lambda: all_uploaded(gateway) or uploaded(gateway, "predictions") > 100, "more to arrive", 60)
    arrives(gateway, mlflow, "patient-one")
