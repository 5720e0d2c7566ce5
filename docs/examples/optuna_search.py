"""Searches settings with Optuna: each trial is a run, and poor ones are stopped early.

    pip install optuna
    python optuna_search.py --out runs/search --trials 20 -- --algo sac --env Pendulum-v1 --steps 5000

What stands behind `--` goes to `rescore train`. The search is in OUT/study.db and the runs beside it: the
same command goes on after it was stopped or killed, with the trials that were under way first, each
from its last checkpoint. One process searches at a time; `--jobs` makes several trials at once.

Edit `suggest` to search other settings.
"""

import argparse
import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import optuna
from optuna.trial import TrialState

# Episodes that decide are others than those by which trials are stopped early.
SCORING_SEED = "1000000"
# Exit codes of `rescore train`: another process holds the run folder; it was asked to stop.
HELD, INTERRUPTED = 73, 75


def suggest(trial):
    """The settings to try, as `--set` takes them."""
    return {
        "lr": trial.suggest_float("lr", 1e-4, 3e-3, log=True),
        "updates_per_step": trial.suggest_float("updates_per_step", 0.1, 1.0, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
    }


def evaluations(run):
    """Step and mean return of each evaluation that was written to its end."""
    path = run / "eval.csv"
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [(int(row["step"]), float(row["mean_return"])) for row in csv.DictReader(whole)]


def objective(trial, options):
    """Trains, reports evaluations on the way, and gives the mean return of other episodes."""
    name = trial.user_attrs.get("folder", f"{trial.number:04}")
    trial.set_user_attr("folder", name)
    run = options.out / name
    train = [options.rescore, "train", *options.train, "--out", str(run), "--continue"]
    for key, value in suggest(trial).items():
        train += ["--set", f"{key}={value}"]
    with open(options.out / f"{name}.log", "a") as log:
        process = subprocess.Popen(train, stdout=log, stderr=log)
        reported = 0
        try:
            while True:
                # Looked at first: what is written afterwards is found the next time.
                code = process.poll()
                found = evaluations(run)
                for step, mean_return in found[reported:]:
                    trial.report(mean_return, step)
                reported = len(found)
                if code == HELD:
                    # A search that was killed has left a process that still trains.
                    process = subprocess.Popen(train, stdout=log, stderr=log)
                elif code is not None:
                    break
                elif trial.should_prune():
                    raise optuna.TrialPruned
                time.sleep(options.every)
        finally:
            if process.poll() is None:
                # A checkpoint, then its end, even if Ctrl-C has told it already.
                process.send_signal(signal.SIGUSR1)
                process.wait()
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if (run / "crash.json").exists():
        # A number was not finite: with these settings it diverges.
        raise optuna.TrialPruned
    if code != 0:
        raise RuntimeError(f"{' '.join(train)} ended with {code}: see {log.name}")
    evaluate = [options.rescore, "eval", str(run), "--seed", SCORING_SEED, "--json"]
    return json.loads(subprocess.check_output(evaluate))["mean_return"]


def try_again(study):
    """Puts the trials that did not come to an end first, with their run folders."""
    latest = {}
    for trial in study.get_trials(deepcopy=False):
        latest[trial.user_attrs.get("folder", trial.number)] = trial
    for trial in latest.values():
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.state in (TrialState.RUNNING, TrialState.FAIL) and "folder" in trial.user_attrs:
            study.enqueue_trial(trial.params, user_attrs={"folder": trial.user_attrs["folder"]})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the search")
    parser.add_argument("--trials", type=int, default=20, help="in total, those before included (20)")
    parser.add_argument("--jobs", type=int, default=1, help="trials at once (1)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two looks (1)")
    parser.add_argument("--rescore", default="rescore", help="the program")
    parser.add_argument("train", nargs="+", help="behind --: arguments of `rescore train`")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="rescore",
        storage=f"sqlite:///{options.out / 'study.db'}",
        pruner=optuna.pruners.MedianPruner(),
        direction="maximize",
        load_if_exists=True,
    )
    # Trials of another task or algorithm cannot be compared with these.
    before = study.user_attrs.get("train", options.train)
    if before != options.train:
        parser.error(f"{options.out} holds a search with: {' '.join(before)}")
    study.set_user_attr("train", options.train)
    try_again(study)
    ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    study.optimize(
        lambda trial: objective(trial, options),
        n_trials=max(options.trials - len(ended), 0),
        n_jobs=options.jobs,
    )
    if not study.get_trials(states=[TrialState.COMPLETE]):
        raise SystemExit("no trial has come to its end")
    best = study.best_trial
    print(json.dumps({"run": str(options.out / best.user_attrs["folder"]), "value": best.value, **best.params}))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped: the same command goes on")
