"""The whole local stack on a model of the user's own: requests, documents, figures, checks and the console's form."""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.console.pages import model, tryit
from compose.console.services import Services
from compose.console.settings import ConsoleSettings
from compose.console.store import Store
from compose.stack import schema_requests
from tests.app.conftest import samples
from tests.stack.running import running_stack, until

ROOT = Path(__file__).resolve().parents[2]


def test_the_whole_stack_runs_on_the_page_s_model(tmp_path: Path) -> None:
    """The page's module and variables: traffic from its schema, each prediction a document, no input in any of them."""
    module = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "own-model.md").read_text(), re.DOTALL)
    assert module is not None
    folder = tmp_path / "my_models"
    folder.mkdir()
    (folder / "tumour.py").write_text(module[1])
    own = {"APP_MODEL": "tumour:make", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "APP_WORKERS": "2"}
    with running_stack(tmp_path / "stack", untrained=True, **own) as stack:
        labels = ("--labels", "100%", "--label-noise", "0")
        sent = stack.command("traffic", "--rate", "50", "--count", "300", "--errors", "20%", *labels)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert "drawn evenly from the service's schema" in sent.stdout
        counts = re.search(r"(\d+) served  (\d+) refused", sent.stdout)
        assert counts is not None, sent.stdout
        served, refused = int(counts[1]), int(counts[2])
        assert served + refused == 300
        assert min(served, refused) > 20
        until(lambda: len(stack.predictions()) == served, "each prediction is one document")
        (fields,) = {
            tuple(sorted(hit["_source"]))
            for hit in stack.search({"query": {"exists": {"field": "prediction"}}, "size": 1000})["hits"]["hits"]
        }
        assert not {"radius", "texture", "smoothness", "concavity", "symmetry"} & set(fields)
        refusals = stack.search({"query": {"term": {"level": "WARNING"}}})["hits"]
        assert refusals["total"]["value"] == refused
        found = samples(httpx.get(f"{stack.app}/metrics", timeout=60).text)
        assert found["ml_predictions_total"] == served
        assert found["ml_input_validation_failures_total"] == refused
        assert sum(value for name, value in found.items() if name.startswith("ml_feedback_total")) == served
        assert stack.command("status").returncode == 0
        for period in ("daily", "weekly"):
            # How fast a busy machine answers is not asked here: each thing was looked at, and the model was judged.
            checked = stack.command("check", period)
            assert checked.returncode in (0, 1, 2), checked.stdout + checked.stderr
            assert "could not look" not in checked.stdout
            assert not checked.stderr
        assert re.search(r"ok +model +accuracy 1.000", checked.stdout), checked.stdout
        accepted = stack.command("check", "--acceptance")
        assert "0 failed" in accepted.stdout, accepted.stdout + accepted.stderr
        settings = ConsoleSettings(app_url=stack.app, store_url=stack.store, shipper_url=stack.shipper)
        store = Store(settings)
        services = Services(settings, store)
        assert tryit.ordered(services.request_schema()) == ["radius", "texture", "smoothness", "concavity"]
        assert "radius" in str(tryit.layout(services))
        card = str(model.about_card(services.model(), time.time()))
        assert "tumour-1" in card
        assert "not told" in card
        services._client.close()
        store.close()


SCHEMA = {
    "properties": {
        "weight": {"type": "number", "minimum": 0, "maximum": 10, "description": ""},
        "count": {"type": "integer", "minimum": 1, "maximum": 3, "description": ""},
        "colour": {"anyOf": [{"type": "string", "enum": ["red", "blue"]}, {"type": "null"}], "description": ""},
    },
    "required": ["weight", "count"],
}


@given(seed=st.integers())
def test_requests_are_made_from_the_schema_and_faulty_ones_do_not_fit_it(seed: int) -> None:
    """Each valid request validates against the schema, each faulty one does not."""
    import jsonschema_rs

    validator = jsonschema_rs.validator_for({**SCHEMA, "type": "object", "additionalProperties": False})
    chance = random.Random(seed)
    request = schema_requests.valid(SCHEMA, chance)
    assert validator.is_valid(request)
    body = schema_requests.faulty(SCHEMA, request, chance)
    try:
        assert not validator.is_valid(msgspec.json.decode(body))
    except msgspec.DecodeError:
        assert body == msgspec.json.encode(request)[:-1]


@pytest.mark.parametrize("answer", [httpx.Response(404), httpx.Response(200, json={}), httpx.Response(200, text="<p>")])
def test_a_service_that_does_not_describe_itself_is_taken_for_the_bank_model(answer: httpx.Response) -> None:
    """Then customers like the data's are sent."""
    client = httpx.Client(base_url="http://x", transport=httpx.MockTransport(lambda _: answer))
    made = schema_requests.requests_for(client)
    assert "campaign" in made.valid(random.Random(1))
    assert made.note == ""
