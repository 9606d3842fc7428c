// Stands for a cloud provider's client, which module proxies do not hand out at every time. Flannel's backend for that cloud
// compiles with it and refuses to work; nothing else uses it.
module github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/vpc

go 1.26.8
