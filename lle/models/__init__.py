"""The networks, one file each. `NETWORKS` maps the name of each to what builds it."""

from lle.models.zero_dce import ZeroDCE

NETWORKS = {"zero_dce": ZeroDCE}
