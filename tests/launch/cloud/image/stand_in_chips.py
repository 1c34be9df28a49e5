"""Shows Python the PCI bus of the stand-in host, where JAX looks for the chips of a TPU VM."""

import glob
import os

_glob = glob.glob
_BUS = "/sys/bus/pci/devices"


def _on_this_host(pathname, *args, **kwargs):
    if str(pathname).startswith(_BUS):
        pathname = os.environ["STAND_IN_PCI"] + str(pathname)[len(_BUS) :]
    return _glob(pathname, *args, **kwargs)


glob.glob = _on_this_host
