"""Where the host waits for the device, and why: every other place is a fault."""

from .emulated import Gpu

BEFORE = {
    "sampler/finite.py:check_finite": "a state, mask or x0 that comes in holds numbers: once each",
    "sampler/conditioning.py:fit": "so does each tensor of a conditioning",
    "sampler/inpaint.py:Inpaint.check": "the mask lies within 0 to 1",
    "sampler/published.py:_float64": "a model's table of levels, if the model has it on its device",
    "sampler/schedule.py:_check_alpha_bar": "the same",
    "sampler/schedule.py:schedule_of_sigmas": "levels that come on the device",
    "sampler/published.py:DDIMSampler.stochastic_encode": "the steps' numbers, which come as a tensor",
}
"""Before the first call of the model: a bounded number of times, whatever the steps."""

WITHIN = {
    "sampler/inversion.py:invert_steps": "with a tolerance above 0, an exact enough step is the last change",
}
"""During a run; only where what is to be computed next hangs on it."""

AFTER = {
    "sampler/finite.py:Watch.check": "whether the model gave NaN, at any step: once",
}
"""After the last call of the model."""


def check(gpu: Gpu) -> None:
    """Raise AssertionError for a wait that no list has, or that comes at another time than its list says; begin anew.

    To be called after each run.
    """
    for read in gpu.reads:
        if read.place in WITHIN:
            continue
        if read.place in BEFORE:
            assert read.calls == 0, f"{read} came during the run"
        elif read.place in AFTER:
            assert read.calls == gpu.calls, f"{read} came before the last of {gpu.calls} calls of the model"
        else:
            raise AssertionError(f"{read} is on no list of what is meant")
    gpu.reads.clear()
    gpu.calls = 0
