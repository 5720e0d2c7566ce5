"""Prints the trials of a search by Optuna: state, run folder and learning rate."""

import json
import sys

import optuna

study = optuna.load_study(study_name="rescore", storage=f"sqlite:///{sys.argv[1]}")
trials = [
    {"state": trial.state.name, "folder": trial.user_attrs["folder"], "lr": trial.params["lr"]}
    for trial in study.trials
]
print(json.dumps(trials))
