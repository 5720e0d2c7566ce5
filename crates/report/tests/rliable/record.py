"""Records statistics of rliable, for statistics.rs: `pip install rliable "pandas<3"`, then run this file.

Scores are drawn here; intervals are computed from the very resamples that are recorded as indices, so
that another program can repeat them without the same generator.
"""

import json
import pathlib

import numpy as np
from rliable import library, metrics

rng = np.random.RandomState(7)


class Recording(library.StratifiedBootstrap):
    """Resamples with recorded indices."""

    def update_indices(self):
        indices = super().update_indices()
        self.recorded.append(indices[0].tolist())
        return indices


def case(runs, tasks, replications):
    scores = np.round(rng.normal(0.6, 0.4, (runs, tasks)), 3)
    other = np.round(rng.normal(0.5, 0.4, (max(runs - 1, 1), tasks)), 3)
    # Ties, within a task and between both.
    other[0, 0] = scores[0, 0]
    taus = np.linspace(-0.2, 1.6, 10)

    def all_metrics(x):
        return np.array([
            metrics.aggregate_mean(x),
            metrics.aggregate_median(x),
            metrics.aggregate_iqm(x),
            metrics.aggregate_optimality_gap(x),
        ])

    np.random.seed(runs * 100 + tasks)
    bootstrap = Recording(scores)
    bootstrap.recorded = []
    interval = bootstrap.conf_int(all_metrics, reps=replications, size=0.95, method="percentile")
    mean, median, iqm, gap = all_metrics(scores)
    return {
        "scores": scores.T.tolist(),
        "other": other.T.tolist(),
        "mean": mean,
        "median": median,
        "iqm": iqm,
        "optimality_gap": gap,
        "probability_of_improvement": metrics.probability_of_improvement(scores, other),
        "taus": taus.tolist(),
        "profile": library.score_distributions(scores, taus).tolist(),
        # Of a resample and a run and a task, the run that is taken in its place.
        "resamples": bootstrap.recorded,
        "interval": interval.tolist(),
    }


cases = [case(5, 4, 40), case(3, 1, 20), case(10, 7, 30), case(2, 3, 25), case(7, 2, 50)]
path = pathlib.Path(__file__).with_name("cases.json")
path.write_text(json.dumps(cases) + "\n")
