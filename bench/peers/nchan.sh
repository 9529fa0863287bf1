# nchan, a module of nginx.
packages="nginx libnginx-mod-nchan"
speaks=nchan

# The module asks for nginx's own folder of temporary files, whatever the configuration says.
prepare()
{
    [ -d /var/lib/nginx ] || root install -d -o "$(id -u)" /var/lib/nginx
}

version()
{
    echo "$(debian_version libnginx-mod-nchan), nginx $(debian_version nginx)"
}

serve()
{
    local port=$1 folder=$2 kind files

    files=$(ulimit -n)
    for kind in client_body proxy fastcgi uwsgi scgi; do
        echo "${kind}_temp_path $folder/$kind;"
    done >"$folder/temp.conf"
    cat >"$folder/nginx.conf" <<END
load_module $(debian_file libnginx-mod-nchan /usr/lib/nginx/modules/ngx_nchan_module.so);
daemon off;
$([ "$(id -u)" != 0 ] || echo "user root;")
worker_processes 1;
worker_rlimit_nofile $files;
pid $folder/nginx.pid;
error_log $folder/error.log warn;
events {
    use epoll;
    worker_connections $((files - 64));
    multi_accept on;
}
http {
    access_log off;
    tcp_nodelay on;
    include $folder/temp.conf;
    nchan_shared_memory_size 256M;
    server {
        listen 127.0.0.1:$port backlog=4096;
        location ~ ^/sub/(.+)\$ {
            nchan_subscriber websocket;
            nchan_channel_id \$1;
            nchan_store_messages off;
        }
        location ~ ^/pub/(.+)\$ {
            nchan_publisher websocket;
            nchan_channel_id \$1;
            nchan_store_messages off;
        }
    }
}
END
    exec "$(debian_program nginx)" -e "$folder/error.log" -p "$folder" -c "$folder/nginx.conf"
}
