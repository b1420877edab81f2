"""Modbus register maps, and the answers on RTU lines. Pure."""
