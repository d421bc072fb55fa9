//! Reads the plant: OPC UA, Modbus, MQTT and recorded files become one kind of sample.
