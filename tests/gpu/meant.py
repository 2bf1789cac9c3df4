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


AROUND = {
    "networks/autoencoder.py:Autoencoder._finite": "what comes in and goes out is finite: once each",
    "hosts/sampling.py:run_sampler": "the results go to the CPU, where nodes work",
    "hosts/sampling.py:run_inversion": "the same",
    "hosts/standalone/clip.py:Clip.encode_from_tokens": "a text goes to the CPU",
    "hosts/standalone/vae.py:Vae.encode": "a latent does",
    "hosts/standalone/vae.py:Vae.decode": "an image does",
    "hosts/standalone/conditioning.py:_entry": "a text of a prompt holds numbers",
    "hosts/standalone/conditioning.py:_bounds": "the box around a prompt's mask",
    "hosts/standalone/guide.py:PromptGuide._placed": "which of several prompts have any weight",
    "hosts/standalone/guide.py:PromptGuide._mixed": "whether there is a place where none has",
}
"""In what the nodes do around a run; never within its steps."""


def check(gpu: Gpu, alone: bool = True) -> None:
    """Raise AssertionError for a wait that no list has, or that comes at another time than its list says; begin anew.

    To be called after each run; after several, and what is around them, not `alone`.
    """
    for read in gpu.reads:
        if read.place in AROUND:
            assert not read.inside, f"{read} came within the steps"
        elif read.place in BEFORE:
            assert not alone or read.calls == 0, f"{read} came during the run"
        elif read.place in AFTER:
            assert not alone or read.calls == gpu.calls, f"{read} came before the last of {gpu.calls} model calls"
        else:
            assert read.place in WITHIN, f"{read} is on no list of what is meant"
    gpu.reads.clear()
    gpu.calls = 0
