# ws from npm: ws.mjs is the application.
packages=npm
speaks=text

version()
{
    echo "$(npm_version ws), node $(node --version)"
}

serve()
{
    exec node bench/peers/ws.mjs "$peers_home" "$1"
}
