"""Prints what the offline runs below each folder `wandb` hold: id, settings, and rows with their steps."""

import json
import sys
from pathlib import Path

from wandb.proto import wandb_internal_pb2 as messages

# The format of LevelDB's logs, behind 7 bytes of a header: in blocks of 32 KiB parts of records, each
# behind its checksum, its length and whether it is whole, a first, a middle or a last part.
BLOCK, HEAD = 32768, 7
WHOLE, LAST = 1, 4


def records(data):
    place, record = HEAD, b""
    while place + HEAD <= len(data):
        if BLOCK - place % BLOCK < HEAD:
            place += BLOCK - place % BLOCK
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + HEAD : place + HEAD + length]
        place += HEAD + length
        if kind in (WHOLE, LAST):
            yield messages.Record.FromString(record)
            record = b""


def items(updates):
    # A name is one key or a path of several.
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def content(file):
    found = {"rows": []}
    for record in records(file.read_bytes()):
        if record.HasField("run"):
            found["id"], found["config"] = record.run.run_id, items(record.run.config.update)
        if record.HasField("history"):
            row = items(record.history.item)
            row = {name: value for name, value in row.items() if not name.startswith("_")}
            found["rows"].append([record.history.step.num, row])
    return found


print(json.dumps([content(file) for file in sorted(Path(sys.argv[1]).glob("offline-run-*/*.wandb"))]))
