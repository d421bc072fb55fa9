"""The API against its own description: every request says which operation it is, every answer is held to what is said of it."""

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

# What makes an answer one that nobody was told of, or one that should have been a refusal.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
]


class Described:
    """One gateway's API, by its description."""

    def __init__(self, url: str, token: str):
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.token = token
        self.headers = {"Authorization": f"Bearer {token}"}
        answer = self.session.get(f"{url}/api/v1/openapi.json", headers=self.headers, timeout=15)
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
        self.document = answer.json()
        self.schema = schemathesis.openapi.from_dict(self.document)
        self.schema.validate()
        found = [one.ok() for one in self.schema.get_all_operations()]
        self.operations = {one.definition.raw["operationId"]: one for one in found}
        # Operations that were seen to succeed.
        self.succeeded: set[str] = set()
        self._strict = _strict(self.document["components"])

    def call(self, operation: str, checks: list | None = None, **parts: Any) -> requests.Response:
        """One request, made of its parts (`path_parameters`, `query`, `body`, `headers`), and its answer, once it is as described."""
        if "body" in parts:
            parts.setdefault("media_type", "application/json")
        return self.send(self.operations[operation].Case(**parts), CHECKS if checks is None else checks)

    def send(self, case: schemathesis.Case, checks: list) -> requests.Response:
        """Sends a case and holds the answer to what is said of it."""
        headers = {**self.headers, **(case.headers or {})}
        answer = case.call(base_url=self.url, session=self.session, headers=headers, timeout=15)
        assert answer.headers["x-content-type-options"] == ["nosniff"], case.as_curl_command()
        case.validate_response(answer, checks=checks)
        if 200 <= answer.status_code < 300:
            self._is_all_described(case, answer)
            self.succeeded.add(case.operation.definition.raw["operationId"])
        return answer

    def _is_all_described(self, case: schemathesis.Case, answer: Any) -> None:
        """No member of a good answer is unknown to the description."""
        said = case.operation.definition.raw["responses"].get(str(answer.status_code), {})
        schema = said.get("content", {}).get("application/json", {}).get("schema")
        if schema and "$ref" in json.dumps(schema):
            jsonschema_rs.validator_for({**_strict(schema), "components": self._strict}).validate(answer.json())

    def is_described(self, event: dict) -> None:
        """An event of the stream of news says what is described, and no more."""
        schemas = self.operations["events"].definition.raw["responses"]["200"]["x-explaind-events"]
        jsonschema_rs.validator_for({**schemas[event["event"]], "components": self._strict}).validate(event["data"])

    def fuzz(self, operation: str, mode: GenerationMode, examples: int, **fixed: Any) -> None:
        """Requests made up by the description, some right, some wrong, the same ones in every run."""

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=self.operations[operation].as_strategy(generation_mode=mode, **fixed))
        def each(case: schemathesis.Case) -> None:
            self.send(case, CHECKS)

        each()


def _strict(schema: Any) -> Any:
    """The same, but objects have no members beside those described."""
    schema = copy.deepcopy(schema)
    stack = [schema]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            if isinstance(one.get("properties"), dict) and one.get("type", "object") != "string":
                one.setdefault("additionalProperties", False)
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
    return schema


def token(gateway: Any, role: str, name: str | None = None) -> str:
    """The token of a new machine of this role."""
    added = gateway.configured("users", "add", name or f"a-{role}", "--role", role, "--token")
    assert added.code == 0, added.err
    return added.out.strip()


def events(lines: Callable[[], Any]) -> Any:
    """The events of a stream's lines: name, id and data."""
    one: dict[str, str] = {}
    for line in lines:
        if not line:
            if one:
                yield {"event": one.get("event", ""), "id": one.get("id", ""), "data": json.loads(one.get("data", "{}"))}
            one = {}
            continue
        key, _, value = line.partition(": ")
        one[key] = value
