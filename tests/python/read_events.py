"""Prints what TensorBoard's own loader reads of each run folder: of each tag its steps and values."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(run):
    events = EventAccumulator(f"{run}/tensorboard", size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


print(json.dumps([scalars(run) for run in sys.argv[1:]]))
