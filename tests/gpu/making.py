"""Makes the seeded networks and the repository that they are served from."""

from exposition import readiness
from networks import MAKERS, lacking
from run import Run, write_model


def step(run: Run) -> dict:
    """A network that needs a package which is not there is left out, and told."""
    made, without, failures = {}, {}, []
    for name in run.wanted:
        if name not in MAKERS:
            failures.append(f"no model is called {name}")
        elif package := lacking(name):
            without[name] = f"{package} is not installed"
        else:
            network = run.networks[name] = MAKERS[name](run.quick)
            made[name] = {"parameters": sum(tensor.numel() for tensor in network.module.parameters())}
            for precision in run.precisions:
                # Nothing but the worker may answer.
                write_model(run, run.models, network, "require-gpu", precision)
    models = readiness(run.serving().metrics)["models"]
    failures += [f"{each['model']}: {each.get('detail', 'not ready')}" for each in models if not each["ready"]]
    return {"models": made, "left_out": without, "failures": failures}
