"""Judges a history of etcd's tests/robustness that its own search gave no verdict on.

The suite looks for an order of all operations in which each could have had its answer, and gives up after five minutes. It
does so where members answer reads while writes of which nobody heard again wait for a log that stands still: each read
could lie on either side of each of them. But answers name their revision, which is an order, and watchers were told of
every change: so each answer is compared with the state at its revision, and revisions with the time. What the search
would look at after a success, the watchers, is judged too.
"""

import json
import pathlib
import sys


def read(path):
    """The values of a file, one behind the other."""
    text, at, decoder = path.read_text(), 0, json.JSONDecoder()
    while (at := at + len(text[at:]) - len(text[at:].lstrip())) < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value


class History:
    """What watchers were told of: the states of the keys that they watched."""

    def __init__(self, folder):
        self.faults = []
        self.events = {}
        self.versions = {}
        self.prefixes = set()
        self.watches = [watch for path in sorted(folder.glob("client-*/watch.json")) for watch in read(path)]
        for watch in self.watches:
            for event in self.told(watch):
                change = (event["Type"], json.dumps(event.get("Value"), sort_keys=True))
                if self.events.setdefault((event["Revision"], event["Key"]), change) != change:
                    self.faults.append(f"two watchers were told different things of {event}")
                if watch["Request"]["WithPrefix"]:
                    self.prefixes.add(watch["Request"]["Key"])
        for (revision, key), (kind, value) in sorted(self.events.items()):
            before = self.at(key, revision - 1)
            version = (before[2] if before else 0) + 1
            put = (value, revision, version) if kind == "put-operation" else None
            self.versions.setdefault(key, []).append((revision, put))

    @staticmethod
    def told(watch):
        return [event for response in watch.get("Responses") or [] for event in response.get("Events") or []]

    def covers(self, key):
        return any(key.startswith(prefix) for prefix in self.prefixes)

    def at(self, key, revision):
        """Value, mod revision and version of a key; None where it is not."""
        return next((put for since, put in reversed(self.versions.get(key, [])) if since <= revision), None)

    def range(self, options, revision):
        start, end = options["Start"], options["End"]
        keys = [key for key in self.versions if (start <= key < end if end else key == start)]
        return [(key, *found) for key in sorted(keys) if (found := self.at(key, revision))]

    def judge_watches(self):
        """Each stream has what it asked for, in order, once, from its first event to its last."""
        for watch in self.watches:
            asked, told = watch["Request"], [(event["Revision"], event["Key"]) for event in self.told(watch)]
            if told != sorted(set(told)):
                self.faults.append(f"a watcher was told out of order, or twice: {asked}")
            if not told:
                continue
            first = asked["Revision"] if asked["Revision"] > 0 else told[0][0]
            is_asked = lambda key: key.startswith(asked["Key"]) if asked["WithPrefix"] else key == asked["Key"]
            wanted = [at for at in sorted(self.events) if first <= at[0] <= told[-1][0] and is_asked(at[1])]
            if told != wanted:
                self.faults.append(f"a watcher was not told of {sorted(set(wanted) - set(told))[:5]}: {asked}")

    def judge_range(self, options, answer, revision):
        if not self.covers(options["Start"]):
            return
        there = self.range(options, revision)
        if (answer.get("Count") or 0) != len(there):
            self.faults.append(f"{answer.get('Count')} keys instead of {len(there)} at {revision}: {options}")
        there = there[: options.get("Limit") or None]
        value = lambda pair: "{}" if options.get("KeysOnly") else json.dumps(pair.get("Value"), sort_keys=True)
        told = [(pair["Key"], value(pair), pair["ModRevision"], pair["Version"]) for pair in answer.get("KVs") or []]
        if told != [(key, "{}" if options.get("KeysOnly") else at, *rest) for key, at, *rest in there]:
            self.faults.append(f"{told[:3]} instead of {there[:3]} at {revision}: {options}")

    def judge_txn(self, txn, answer, revision):
        failed = answer["Failure"]
        done = (txn["OperationsOnFailure"] if failed else txn["OperationsOnSuccess"]) or []
        writes = [
            op for op, result in zip(done, answer["Results"] or [])
            if op["Type"] == "put-operation" or (op["Type"] == "delete-operation" and result["Deleted"])
        ]
        before = revision - 1 if writes else revision
        for condition in txn["Conditions"] or []:
            if not self.covers(condition["Key"]):
                return
        holds = all(
            (found[1] if found else 0) == condition["ExpectedRevision"]
            if not condition["ExpectedVersion"]
            else (found[2] if found else 0) == condition["ExpectedVersion"]
            for condition in txn["Conditions"] or []
            for found in [self.at(condition["Key"], before)]
        )
        if holds == failed:
            self.faults.append(f"conditions that {'hold' if holds else 'do not hold'} at {before}: {txn}")
        for op in writes:
            put = op["Type"] == "put-operation"
            key = op["Put" if put else "Delete"]["Key"]
            change = self.events.get((revision, key))
            wanted = json.dumps(op["Put"]["Value"], sort_keys=True) if put else None
            if self.covers(key) and (not change or change[0] != op["Type"] or (put and change[1] != wanted)):
                self.faults.append(f"an acknowledged write is {change} at {revision}: {op}")
        if not writes:
            for op, result in zip(done, answer["Results"] or []):
                if op["Type"] == "range-operation":
                    self.judge_range(op["Range"], result, revision)

    def judge_order(self, told):
        """Nobody is told of an earlier state than somebody was before they asked."""
        ended, newest, at = sorted((end, revision) for _, end, revision in told), 0, 0
        for begun, _, revision in sorted(told):
            while at < len(ended) and ended[at][0] < begun:
                newest, at = max(newest, ended[at][1]), at + 1
            if revision < newest:
                self.faults.append(f"revision {revision} was told after {newest} had been")


def judge(folder):
    """What is wrong with a history, and of how many answers."""
    history = History(folder)
    history.judge_watches()
    told = []
    for path in sorted(folder.glob("client-*/operations.json")):
        for operation in read(path):
            asked, answer = operation["Input"], operation["Output"]
            revision = answer["Revision"]
            if answer["Error"] or answer["ClientError"] or revision <= 0:
                continue
            told.append((operation["Call"], operation["Return"], revision))
            if asked["Type"] == "range" and answer["Range"]:
                history.judge_range(asked["Range"], answer["Range"], asked["Range"]["Revision"] or revision)
            if asked["Type"] == "txn" and answer["Txn"]:
                history.judge_txn(asked["Txn"], answer["Txn"], revision)
    history.judge_order(told)
    if not history.events or not told:
        history.faults.append("there is nothing to judge")
    return history.faults, len(told)


if __name__ == "__main__":
    faults, answers = judge(pathlib.Path(sys.argv[1]))
    print(f"{answers} answers, {len(faults)} faults", *faults[:10], sep="\n")
    sys.exit(bool(faults))
