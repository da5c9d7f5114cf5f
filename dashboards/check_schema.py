"""Reads each dashboard with Grafana's own model of it and writes it again: what Grafana does not know is lost on the way.

  pip install 'grafana-foundation-sdk==1769699998!10.1.0'
  python check_schema.py grafana/*.json
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(ours, theirs, path):
    """Where the two differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key not in theirs:
                yield f"{path}/{key}"
            else:
                yield from lost(value, theirs[key], f"{path}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for at, (value, other) in enumerate(zip(ours, theirs)):
            yield from lost(value, other, f"{path}[{at}]")
    elif ours != theirs:
        yield path


def main(files):
    register_default_plugins()
    wrong = 0
    for file in files:
        with open(file, encoding="utf-8") as text:
            ours = json.load(text)
        theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
        for path in lost(ours, theirs, ""):
            print(f"{file}: Grafana does not know {path}")
            wrong += 1
    return 1 if wrong or not files else 0


sys.exit(main(sys.argv[1:]))
