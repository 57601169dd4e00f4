"""Validate an RO-Crate without a network: `python validate_crate.py CRATE`, where a validator is.

Exit code 1 and a line for each fault when it is not what Provenance Run Crate 0.5 requires. The one
context that JSON-LD needs from the network comes from a release of rocrate that has that version,
the other one defines the terms below.
"""

import json
import sys
from pathlib import Path

import requests
import rocrate
from rocrate_validator import models, services

TERMS = "https://w3id.org/ro/terms/workflow-run"
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": json.loads(
        (Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text()
    ),
    f"{TERMS}/context": {
        "@context": {name: f"{TERMS}#{name}" for name in ("sha256", "resourceUsage")}
    },
}


def answer(session, request, **options):
    """Answer a request from the contexts at hand; any other is a fault of the crate."""
    response = requests.Response()
    response.status_code, response.url, response.request = 200, request.url, request
    response.headers["Content-Type"] = "application/ld+json"
    response._content = json.dumps(CONTEXTS[request.url]).encode()
    return response


requests.Session.send = answer
result = services.validate(
    services.ValidationSettings(
        rocrate_uri=sys.argv[1],
        profile_identifier="provenance-run-crate",
        requirement_severity=models.Severity.REQUIRED,
        no_cache=True,
    )
)
for issue in result.get_issues():
    print(issue.check.identifier, issue.message)
sys.exit(not result.passed())
