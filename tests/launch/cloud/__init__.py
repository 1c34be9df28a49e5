"""A small cloud: TPU VMs whose hosts are folders and processes of this machine.

``bin/gcloud`` stands in for the Google Cloud CLI. It knows projects, TPU VMs, queued resources and
their states; ``ssh`` and ``scp`` really run commands and copy files on the hosts of a VM. What it
does follows the sources of Google Cloud SDK 528 where the launcher can tell the difference: ``ssh
--worker=all`` runs on all hosts at once, tries again when a connection breaks, and ends with the
status of the first host that failed.

A host has a home directory, a clean environment, a metadata server and chips on its PCI bus. So the
program finds the other hosts as on a TPU VM: JAX asks the metadata server. These things differ from
a TPU VM:

- The chips compute nothing: ``JAX_PLATFORMS=cpu``, with so many CPU devices a host.
- All hosts have one network address and one process table. The coordinator's port is a free one
  (``JAX_COORDINATOR_PORT``), as several clouds may be on one machine.
- Installing needs no network: ``uv`` is a stand-in (``image/uv``) that makes a real environment
  and lets pip install the unpacked tree into it, but takes the tree's requirements from the
  environment of the tests.
- Compiled programs are kept beyond the end of a host (``JAX_COMPILATION_CACHE_DIR``), and the
  compiler optimises nothing.
- Time passes by looking: a queued resource goes to its next state when it is described.
"""
