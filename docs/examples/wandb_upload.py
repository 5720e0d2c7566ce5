"""Gives a run folder to Weights & Biases: its settings, its metrics and its evaluations.

    pip install wandb
    python wandb_upload.py runs/first --project rescore --follow

The run may be going on: `--follow` waits for more until it is done. Called again, the script adds what is
new to the same run, also after the run was resumed. WANDB_MODE=offline writes below RUN/wandb, for
`wandb sync` later. Entries are named as in metrics.jsonl; evaluations are `eval/mean_return` and
`eval/std_return`.
"""

import argparse
import csv
import hashlib
import json
import time
import tomllib
from pathlib import Path

import wandb


def whole_lines(path):
    """The lines of a file that were written to their ends."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def rows(run):
    """What the logs say, by step."""
    found = {}
    for line in whole_lines(run / "metrics.jsonl"):
        # What is not finite is null there.
        entries = {name: value for name, value in json.loads(line).items() if value is not None}
        found.setdefault(entries.pop("step"), {}).update(entries)
    for row in csv.DictReader(whole_lines(run / "eval.csv")):
        names = ("mean_return", "std_return")
        values = {f"eval/{name}": float(row[name]) for name in names}
        found.setdefault(int(row["step"]), {}).update(values)
    return sorted(found.items())


def identity(run):
    """The run's name at Weights & Biases: the same for every call, wherever the folder is moved."""
    manifest = json.loads((run / "manifest.json").read_text())
    begun = [manifest[key] for key in ("host", "command", "started_unix_s")]
    # `train --seeds` begins several runs with one command.
    begun.append(tomllib.loads((run / "config.toml").read_text())["seed"])
    return hashlib.sha256(json.dumps(begun).encode()).hexdigest()[:16]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--project", default="rescore")
    parser.add_argument("--entity", help="user or team")
    parser.add_argument("--follow", action="store_true", help="wait for more until the run is done")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two looks (10)")
    options = parser.parse_args()

    folder = options.run
    config = tomllib.loads((folder / "config.toml").read_text())
    run = wandb.init(
        project=options.project,
        entity=options.entity,
        id=identity(folder),
        resume="allow",
        name="/".join(folder.resolve().parts[-2:]),
        group=f"{config['algo']}-{config['env']}",
        config=config,
        dir=folder,
    )
    # Steps below this one are there already. Offline, nobody but this file knows.
    note = folder / "wandb" / f"next_step-{options.entity or ''}-{options.project}.json"
    next_step = run.step
    if run.settings.mode == "offline" and note.exists():
        next_step = max(next_step, json.loads(note.read_text()))
    try:
        while True:
            # Looked at first: what is written afterwards is found the next time.
            done = (folder / "DONE").exists() or (folder / "crash.json").exists()
            found = rows(folder)
            # The evaluation of the last step may still be missing; a step is given once.
            for step, entries in found if done else found[:-1]:
                if step >= next_step:
                    run.log(entries, step=step)
                    next_step = step + 1
            if run.settings.mode == "offline":
                note.write_text(json.dumps(next_step))
            if done or not options.follow:
                break
            time.sleep(options.every)
    finally:
        run.finish()


if __name__ == "__main__":
    main()
