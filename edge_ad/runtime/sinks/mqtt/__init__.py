"""Events, states and commands over MQTT."""

from edge_ad.runtime.sinks.mqtt.sink import MqttSink, open_mqtt

__all__ = ["MqttSink", "open_mqtt"]
