"""Circuits and recorded data in the formats of other programs, each imported when it is used."""

from mnnbio.formats.brian2_script import to_brian2_script
from mnnbio.formats.neo_blocks import from_neo, to_neo
from mnnbio.formats.nest_script import to_nest_script
from mnnbio.formats.nir_export import to_nir
from mnnbio.formats.nir_import import from_nir
from mnnbio.formats.nwb_files import from_nwb, to_nwb
from mnnbio.formats.packages import LeftOutWarning, PackageMissing
from mnnbio.formats.plain_trains import from_csv, from_dataframe, from_trains, to_csv, to_dataframe
from mnnbio.formats.pynapple_groups import from_pynapple, to_pynapple
from mnnbio.formats.pynn_script import to_pynn_script
from mnnbio.formats.sonata_files import from_sonata, from_sonata_spikes, to_sonata

__all__ = [
    "LeftOutWarning",
    "PackageMissing",
    "from_csv",
    "from_dataframe",
    "from_neo",
    "from_nir",
    "from_nwb",
    "from_pynapple",
    "from_sonata",
    "from_sonata_spikes",
    "from_trains",
    "to_brian2_script",
    "to_csv",
    "to_dataframe",
    "to_neo",
    "to_nest_script",
    "to_nir",
    "to_nwb",
    "to_pynapple",
    "to_pynn_script",
    "to_sonata",
]
