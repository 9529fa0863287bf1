# mosquitto over its websocket.
packages=mosquitto
speaks=mqtt

version()
{
    debian_version mosquitto
}

serve()
{
    local port=$1 folder=$2

    # it ends when it has websockets alone to listen for, hence the first listener
    cat >"$folder/mosquitto.conf" <<END
$([ "$(id -u)" != 0 ] || echo "user root")
per_listener_settings false
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
sys_interval 0
connection_messages false
log_dest stderr
log_type error
log_type warning
listener 0 $folder/mqtt.sock
listener $port 127.0.0.1
protocol websockets
socket_domain ipv4
max_connections -1
END
    exec "$(debian_program mosquitto)" -c "$folder/mosquitto.conf"
}
