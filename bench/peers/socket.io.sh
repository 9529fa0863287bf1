# Socket.IO from npm: socket.io.mjs is the application.
packages=npm
speaks=socket.io

version()
{
    echo "$(npm_version socket.io), node $(node --version)"
}

serve()
{
    exec node bench/peers/socket.io.mjs "$peers_home" "$1"
}
