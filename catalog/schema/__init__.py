"""What a catalog entry is: frozen pydantic classes, one module a noun."""

from catalog.schema.base import Entry, Fraction, Label, PositiveFloat, PositiveInt, Source
from catalog.schema.calibration import Calibration
from catalog.schema.engine import Engine, EngineVersion
from catalog.schema.formats import FormatSupport, KvFormat, Quality, QualityBySize, RoleBits, TensorRole, WeightFormat
from catalog.schema.gpu import Gpu, Tflops
from catalog.schema.instance import Instance
from catalog.schema.model import Model

__all__ = [
    "Calibration",
    "Engine",
    "EngineVersion",
    "Entry",
    "FormatSupport",
    "Fraction",
    "Gpu",
    "Instance",
    "KvFormat",
    "Label",
    "Model",
    "PositiveFloat",
    "PositiveInt",
    "Quality",
    "QualityBySize",
    "RoleBits",
    "Source",
    "TensorRole",
    "Tflops",
    "WeightFormat",
]
