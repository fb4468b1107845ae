"""The fields of a BoAmps report, which are required and what they may hold.

Written after the public JSON schemas of the BoAmps data model, release 1.1.0 (Boavizta, CC BY 4.0):
https://github.com/Boavizta/BoAmps/tree/main/model, `report_schema.json` and the schemas it refers to. Energy is in
kWh, durations in seconds, memory in GB, parameters in billions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = "1.1.0"
FORMAT_URI = "https://github.com/Boavizta/BoAmps/tree/main/model"

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int | float, Field(ge=0)]
Secrecy = Literal["public", "internal", "confidential", "secret"]
DataUsage = Literal["input", "output"]
DataType = Literal["tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other"]
InfraType = Literal["publicCloud", "privateCloud", "onPremise", "other"]


class Part(BaseModel):
    """A field that the data model does not have is refused, and so is a number that JSON does not have."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Publisher(Part):
    name: str | None = None
    division: str | None = None
    projectName: str | None = None  # noqa: N815 - the data model's own names, here and below
    confidentialityLevel: Secrecy  # noqa: N815
    publicKey: str | None = None  # noqa: N815


class Header(Part):
    licensing: str | None = None
    formatVersion: str | None = None  # noqa: N815
    formatVersionSpecificationUri: str | None = None  # noqa: N815
    reportId: str | None = None  # noqa: N815
    reportDatetime: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")]  # noqa: N815
    reportStatus: Literal["draft", "final", "corrective", "other"] | None = None  # noqa: N815
    publisher: Publisher | None = None


class Algorithm(Part):
    trainingType: str | None = None  # noqa: N815
    algorithmType: str | None = None  # noqa: N815
    algorithmName: str | None = None  # noqa: N815
    algorithmUri: str | None = None  # noqa: N815
    foundationModelName: str | None = None  # noqa: N815
    foundationModelUri: str | None = None  # noqa: N815
    parametersNumber: Positive | None = None  # noqa: N815 - billions
    framework: str | None = None
    frameworkVersion: str | None = None  # noqa: N815
    classPath: str | None = None  # noqa: N815
    layersNumber: Positive | None = None  # noqa: N815
    epochsNumber: Positive | None = None  # noqa: N815
    optimizer: str | None = None
    quantization: str | None = None


class Dataset(Part):
    dataUsage: DataUsage  # noqa: N815
    dataType: DataType  # noqa: N815
    dataFormat: str | None = None  # noqa: N815
    dataSize: Positive | None = None  # noqa: N815 - GB
    dataQuantity: Positive | None = None  # noqa: N815
    shape: str | None = None
    source: Literal["public", "private", "other"] | None = None
    sourceUri: str | None = None  # noqa: N815
    owner: str | None = None


class TaskPart(Part):
    taskStage: Annotated[str, Field(min_length=1)]  # noqa: N815
    taskFamily: Annotated[str, Field(min_length=1)]  # noqa: N815
    nbRequest: Positive | None = None  # noqa: N815
    algorithms: Annotated[list[Algorithm], Field(min_length=1)]
    dataset: Annotated[list[Dataset], Field(min_length=1)]
    measuredAccuracy: Share | None = None  # noqa: N815
    estimatedAccuracy: Literal["veryPoor", "poor", "average", "good", "veryGood"] | None = None  # noqa: N815
    taskDescription: str | None = None  # noqa: N815


class Measure(Part):
    measurementMethod: Annotated[str, Field(min_length=1)]  # noqa: N815
    manufacturer: str | None = None
    version: str | None = None
    cpuTrackingMode: str | None = None  # noqa: N815
    gpuTrackingMode: str | None = None  # noqa: N815
    averageUtilizationCpu: Share | None = None  # noqa: N815
    averageUtilizationGpu: Share | None = None  # noqa: N815
    powerCalibrationMeasurement: Positive | None = None  # noqa: N815 - kWh
    durationCalibrationMeasurement: Positive | None = None  # noqa: N815 - s
    powerConsumption: Positive  # noqa: N815 - kWh
    measurementDuration: Positive | None = None  # noqa: N815 - s
    measurementDateTime: str | None = None  # noqa: N815


class System(Part):
    os: Annotated[str, Field(min_length=1)]
    distribution: str | None = None
    distributionVersion: str | None = None  # noqa: N815


class Software(Part):
    language: Annotated[str, Field(min_length=1)]
    version: str | None = None


class Component(Part):
    componentName: str | None = None  # noqa: N815
    componentType: Annotated[str, Field(min_length=1)]  # noqa: N815
    nbComponent: Annotated[int, Field(ge=1)]  # noqa: N815
    memorySize: Annotated[int, Field(ge=0)] | None = None  # noqa: N815 - GB
    manufacturer: str | None = None
    family: str | None = None
    series: str | None = None
    share: Share | None = None


class Infrastructure(Part):
    infraType: InfraType  # noqa: N815
    cloudProvider: str | None = None  # noqa: N815
    cloudInstance: str | None = None  # noqa: N815
    cloudService: str | None = None  # noqa: N815
    components: Annotated[list[Component], Field(min_length=1)]


class Surroundings(Part):
    country: Annotated[str, Field(min_length=1)]
    latitude: float | None = None
    longitude: float | None = None
    location: str | None = None
    powerSupplierType: Literal["public", "private", "internal", "other"] | None = None  # noqa: N815
    powerSource: Literal["solar", "wind", "nuclear", "hydroelectric", "gas", "coal", "other"] | None = None  # noqa: N815
    powerSourceCarbonIntensity: Positive | None = None  # noqa: N815 - g CO2e/kWh


class Report(Part):
    """A whole report; `$hash`, which signs one, is the publisher's to add."""

    header: Header | None = None
    task: TaskPart
    measures: Annotated[list[Measure], Field(min_length=1)]
    system: System | None = None
    software: Software | None = None
    infrastructure: Infrastructure
    environment: Surroundings | None = None
    quality: Literal["high", "medium", "low"] | None = None
