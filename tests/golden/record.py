"""Records golden trajectories of Gymnasium's MuJoCo tasks, or checks recorded ones against it.

    pip install "gymnasium[mujoco]==1.4.0" mujoco==3.17.0 numpy==2.4.6 safetensors
    python record.py --env HumanoidStandup-v5 --steps 20 --out DIR    # one task
    python record.py --env Hopper-v5 --options '{"frame_skip": 2}' --steps 30 --out DIR
    python record.py --like tests/golden --out DIR                    # all that another folder has
    python record.py --check tests/golden                             # is Gymnasium still the same?

Gymnasium 1.0.0 to 1.4.0 give the same bits; another MuJoCo does not. README.md beside this file
describes what is written. `--out` adds to a folder that has an index already; `--check` plays the
recorded actions from the recorded states and compares every bit.
"""

import argparse
import contextlib
import hashlib
import json
import math
import warnings
import zlib
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from safetensors.numpy import load_file, save

SEED = 20250117
RESETS = {False: 2000, True: 500}  # of a task; of a task with options
# Where the object of Pusher stands so that the arm, as it lies, touches it.
CONTACT = {"Pusher": {7: -0.67, 8: 0.371}}
START = ["qpos0", "qvel0", "obs0"]
PER_STEP = ["obs", "reward", "terminated", "truncated", "qpos", "qvel"]
NOTE = (
    "actions are float32 as in action_space; obs/reward/qpos/qvel float64. 'main','clip','zero',"
    "'bang' never reset after termination; 'episodic' resets when terminated|truncated (TimeLimit "
    "counted) and stores the state after each reset in episodic.reset_*"
)


@contextlib.contextmanager
def any_version(wanted):
    """Gymnasium refuses Pusher-v4 on MuJoCo 3 and later, because its object cannot be moved."""
    version = mujoco.__version__
    try:
        if wanted:
            mujoco.__version__ = "2.3.7"
        yield
    finally:
        mujoco.__version__ = version


def make(env_id, options):
    """The task without wrappers, and the steps after which its episodes are truncated."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    with any_version(env_id == "Pusher-v4"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that version 4 is not the newest
        env = gymnasium.make(env_id, disable_env_checker=True, **options)
    return env.unwrapped, env.spec.max_episode_steps


def start(env, qpos, qvel):
    """Starts from a state, with everything else as after a reset; the observation."""
    mujoco.mj_resetData(env.model, env.data)
    env.set_state(np.array(qpos), np.array(qvel))
    return env._get_obs()


def play(env, limit, actions, reset=None):
    """Plays `actions` from the state that `env` is in, past the ends of episodes unless `reset`
    begins another one and gives its first observation."""
    rows = {key: [] for key in PER_STEP}
    infos, resets, elapsed = {}, {"after_step": [], "qpos": [], "qvel": [], "obs": []}, 0
    for step, action in enumerate(actions):
        obs, reward, terminated, _, info = env.step(action)
        elapsed += 1
        truncated = elapsed >= limit
        values = [obs, float(reward), terminated, truncated, env.data.qpos, env.data.qvel]
        for key, value in zip(PER_STEP, values):
            rows[key].append(np.array(value))
        for key, value in info.items():
            if np.ndim(value) == 0:
                infos.setdefault(key, []).append(float(value))
        if reset and (terminated or truncated):
            obs, elapsed = reset(), 0
            values = [step, obs, env.data.qpos, env.data.qvel]
            for key, value in zip(["after_step", "obs", "qpos", "qvel"], values):
                resets[key].append(np.array(value))
    arrays = {key: np.array(values) for key, values in rows.items()}
    for flag in ("terminated", "truncated"):
        arrays[flag] = arrays[flag].astype(np.uint8)
    if reset is None:
        for key, values in infos.items():
            if len(values) == len(actions):
                arrays[f"info.{key}"] = np.array(values)
    else:
        for key, values in resets.items():
            dtype = np.int64 if key == "after_step" else np.float64
            shape = {"obs": env._get_obs().size, "qpos": env.model.nq, "qvel": env.model.nv}
            rows_shape = (len(values),) + ((shape[key],) if key in shape else ())
            arrays[f"reset_{key}"] = np.array(values, dtype).reshape(rows_shape)
    return arrays


def draw_actions(case, space, steps, rng):
    """The actions of a case, `[steps, dim]`."""
    shape = (steps, space.shape[0])
    if case == "zero":
        return np.zeros(shape, np.float32)
    if case == "bang":
        return np.where(rng.random(shape) < 0.5, space.low, space.high).astype(np.float32)
    factor = 3.0 if case == "clip" else 1.0
    return rng.uniform(factor * space.low, factor * space.high, shape).astype(np.float32)


def cases_of(env_id, steps, options):
    """Names and steps of the cases of a task."""
    if options:
        return {"main": steps}
    short = math.ceil(0.3 * steps)
    cases = {"main": steps, "clip": short, "zero": steps // 4, "bang": short, "episodic": steps}
    if env_id.split("-")[0] in CONTACT:
        cases["contact"] = math.ceil(0.5 * steps)
    return {case: max(count, 1) for case, count in cases.items()}


def record(plan, out):
    """Records one file of `plan` into the folder `out`; its entry of the index."""
    env_id, options, file, cases = plan
    env, limit = make(env_id, options)
    seed = SEED + zlib.crc32(file.encode())
    arrays = {}
    for number, (case, steps) in enumerate(cases.items()):
        rng = np.random.default_rng([seed, number])
        # Every case but `contact` begins alike.
        env.reset(seed=seed)
        qpos, qvel = env.data.qpos.copy(), env.data.qvel.copy()
        if case == "contact":
            qpos[:] = 0.0
            for index, value in CONTACT[env_id.split("-")[0]].items():
                qpos[index] = value
        actions = draw_actions(case, env.action_space, steps, rng)
        found = {"qpos0": qpos, "qvel0": qvel, "obs0": start(env, qpos, qvel), "actions": actions}
        reset = (lambda: env.reset()[0]) if case == "episodic" else None
        found.update(play(env, limit, actions, reset))
        arrays.update({f"{case}.{key}": value for key, value in found.items()})
    count = RESETS[bool(options)]
    drawn = {"obs": [], "qpos": [], "qvel": []}
    for _ in range(count):
        drawn["obs"].append(env.reset()[0])
        drawn["qpos"].append(env.data.qpos.copy())
        drawn["qvel"].append(env.data.qvel.copy())
    for key, rows in drawn.items():
        for name in ("mean", "std", "min", "max"):
            arrays[f"reset{count}.{key}_{name}"] = getattr(np.array(rows), name)(axis=0)
    arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    (out / file).write_bytes(save(arrays))
    return describe(plan, env, limit, arrays, out)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def describe(plan, env, limit, arrays, out):
    """The entry of the index."""
    env_id, options, file, cases = plan
    model, space = env.model, env.action_space
    entry = {"env_id": env_id}
    if options:
        entry["options"] = options
    entry |= {
        "file": file,
        "sha256": sha256(out / file),
        "xml": Path(env.fullpath).name,
        "xml_sha256": sha256(env.fullpath),
        "version_check_patched": env_id == "Pusher-v4",
        "obs_dim": int(env._get_obs().size),
        "act_dim": int(space.shape[0]),
        "act_low": [float(x) for x in space.low],
        "act_high": [float(x) for x in space.high],
        "frame_skip": env.frame_skip,
        "timestep": model.opt.timestep,
        "dt": env.dt,
        "integrator": int(model.opt.integrator),
        "time_limit": limit,
        "nq": model.nq,
        "nv": model.nv,
        "nu": model.nu,
        "nbody": model.nbody,
        "init_qpos": [float(x) for x in model.qpos0],
    }
    if "episodic" in cases:
        ends = np.flatnonzero(arrays["main.terminated"])
        entry["first_terminated_main"] = int(ends[0]) if len(ends) else None
        entry["episodic_resets"] = len(arrays["episodic.reset_after_step"])
    entry["arrays"] = {key: [str(v.dtype), list(v.shape)] for key, v in arrays.items()}
    return entry


def planned(entry):
    """The plan of a file that an index describes."""
    cases = {
        key.removesuffix(".actions"): shape[0]
        for key, (_, shape) in entry["arrays"].items()
        if key.endswith(".actions")
    }
    return entry["env_id"], entry.get("options", {}), entry["file"], cases


def add(entries, out):
    """Puts entries into the index of `out`, those of the same file replaced."""
    path = out / "index.json"
    head = {
        "mujoco": mujoco.__version__,
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
        "seed": SEED,
        "note": NOTE,
        "files": [],
    }
    index = json.loads(path.read_text()) if path.exists() else head
    for key in ("mujoco", "gymnasium", "numpy"):
        if index[key] != head[key]:
            raise SystemExit(f"{path} was recorded with {key} {index[key]}, this is {head[key]}")
    new = {entry["file"]: entry for entry in entries}
    files = [new.pop(old["file"], old) for old in index["files"]]
    index["files"] = files + list(new.values())
    # A line for each file, so that another one is another line.
    files = ",\n  ".join(json.dumps(entry) for entry in index.pop("files"))
    text = json.dumps(index | {"files": []}, indent=1)
    path.write_text(text.replace('"files": []', f'"files": [\n  {files}\n ]') + "\n")


def check(entry, folder):
    """Plays what a file holds; the names of the arrays that come out otherwise."""
    env_id, options, file, cases = planned(entry)
    env, limit = make(env_id, options)
    recorded = load_file(folder / file)
    different = []
    for case in cases:
        stored = {k.split(".", 1)[1]: v for k, v in recorded.items() if k.startswith(case + ".")}
        resets = iter(zip(*(stored.get(f"reset_{key}", ()) for key in ("qpos", "qvel"))))
        reset = (lambda: start(env, *next(resets))) if "reset_qpos" in stored else None
        found = {"qpos0": stored["qpos0"], "qvel0": stored["qvel0"], "actions": stored["actions"]}
        found["obs0"] = start(env, stored["qpos0"], stored["qvel0"])
        found.update(play(env, limit, stored["actions"], reset))
        for key, value in stored.items():
            if key not in found or found[key].tobytes() != value.tobytes():
                different.append(f"{file}: {case}.{key}")
    return different


def main():
    # That an attribute of the models is deprecated; MuJoCo would write it into a file as well.
    mujoco.set_mju_user_warning(lambda message: None)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="folder to record into")
    parser.add_argument("--env", action="append", default=[], help="task to record; repeatable")
    parser.add_argument("--options", type=json.loads, default={}, help="of the task, as JSON")
    parser.add_argument("--steps", type=int, default=200, help="of the longest cases")
    parser.add_argument("--like", type=Path, help="record the tasks and cases of this folder")
    parser.add_argument("--check", type=Path, help="compare this folder with Gymnasium")
    arguments = parser.parse_args()
    if arguments.check:
        index = json.loads((arguments.check / "index.json").read_text())
        different = [name for e in index["files"] for name in check(e, arguments.check)]
        print("\n".join(different) or f"{len(index['files'])} files: the same bits")
        raise SystemExit(1 if different else 0)
    if not arguments.out or not (arguments.env or arguments.like):
        parser.error("give --check DIR, or --out DIR with --env NAME or --like DIR")
    plans = []
    if arguments.like:
        index = json.loads((arguments.like / "index.json").read_text())
        plans = [planned(entry) for entry in index["files"]]
    options = arguments.options
    for env_id in arguments.env:
        file = f"{env_id}{'-options' if options else ''}.safetensors"
        plans.append((env_id, options, file, cases_of(env_id, arguments.steps, options)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    add([record(plan, arguments.out) for plan in plans], arguments.out)


if __name__ == "__main__":
    main()
