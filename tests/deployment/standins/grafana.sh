#!/bin/sh
# Stands in for Grafana, which it is not: it looks for the files that are mounted for Grafana and
# answers to what the proxy, the health check and Prometheus ask.
set -eu
for secret in "$GF_SECURITY_ADMIN_PASSWORD__FILE" "$GF_SECURITY_SECRET_KEY__FILE"; do
    test -s "$secret"
    cat "$secret" > /dev/null
done
cat /etc/grafana/provisioning/*/*.yml "$GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH" > /dev/null
touch /var/lib/grafana/grafana.db

mkdir -p /tmp/www/api
echo '{"database": "ok"}' > /tmp/www/api/health
echo 'grafana_build_info{version="stand-in"} 1' > /tmp/www/metrics
echo "A stand-in for Grafana" > /tmp/www/index.html
exec busybox httpd -f -p 3000 -h /tmp/www
