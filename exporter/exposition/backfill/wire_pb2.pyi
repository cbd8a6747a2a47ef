from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Sample(_message.Message):
    __slots__ = ("value", "timestamp", "start_timestamp")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    START_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    value: float
    timestamp: int
    start_timestamp: int
    def __init__(
        self,
        value: _Optional[float] = ...,
        timestamp: _Optional[int] = ...,
        start_timestamp: _Optional[int] = ...,
    ) -> None: ...

class Label(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class LabelledSeries(_message.Message):
    __slots__ = ("labels", "samples")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    def __init__(
        self,
        labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ...,
        samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ...,
    ) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("timeseries",)
    TIMESERIES_FIELD_NUMBER: _ClassVar[int]
    timeseries: _containers.RepeatedCompositeFieldContainer[LabelledSeries]
    def __init__(
        self, timeseries: _Optional[_Iterable[_Union[LabelledSeries, _Mapping]]] = ...
    ) -> None: ...

class Metadata(_message.Message):
    __slots__ = ("type", "help_ref")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    HELP_REF_FIELD_NUMBER: _ClassVar[int]
    type: int
    help_ref: int
    def __init__(self, type: _Optional[int] = ..., help_ref: _Optional[int] = ...) -> None: ...

class SymbolSeries(_message.Message):
    __slots__ = ("labels_refs", "samples", "metadata")
    LABELS_REFS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    labels_refs: _containers.RepeatedScalarFieldContainer[int]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    metadata: Metadata
    def __init__(
        self,
        labels_refs: _Optional[_Iterable[int]] = ...,
        samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ...,
        metadata: _Optional[_Union[Metadata, _Mapping]] = ...,
    ) -> None: ...

class Request(_message.Message):
    __slots__ = ("symbols", "timeseries")
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    TIMESERIES_FIELD_NUMBER: _ClassVar[int]
    symbols: _containers.RepeatedScalarFieldContainer[str]
    timeseries: _containers.RepeatedCompositeFieldContainer[SymbolSeries]
    def __init__(
        self,
        symbols: _Optional[_Iterable[str]] = ...,
        timeseries: _Optional[_Iterable[_Union[SymbolSeries, _Mapping]]] = ...,
    ) -> None: ...
