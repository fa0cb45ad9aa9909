"""Events, states and availability to an MQTT broker, with Home Assistant's discovery."""
