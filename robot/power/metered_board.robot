*** Settings ***
Documentation       Energy by phase with a power meter.
...
...                 Without a port the meter is a simulated instrument behind its real driver, and the truth is known:
...                 the current that it sees is the cost model's. With PORT and METER a board on the cable is measured
...                 and held against published measurements:
...
...                 hil robot power --platform max78000 --port /dev/ttyACM0 --variable METER:ppk2?voltage_v=3.3
...                 ...   --variable NETWORK:zoo:kws --variable SITE:rail VCOREA

Resource            ../resources/hil.resource

Test Timeout        2 minutes

Test Tags           power


*** Variables ***
${PORT}             ${EMPTY}
${METER}            ${EMPTY}
${SITE}             ${EMPTY}
${PLATFORM}         max78000
${NETWORK}          zoo:vww
${REPEAT}           8


*** Test Cases ***
Each Phase Is Measured As What Flowed
    [Template]    The Measured Energy Is The Truth
    ppk2
    lpm01a
    stlink_v3pwr

Lost Samples Invalidate The Energy And Nothing Else
    Skip If    $PORT    a real instrument loses nothing on demand
    Measure With    ppk2    lose_samples=5000
    Energy Should Be Refused    inference    samples missing
    Latency Should Agree With    ${PREDICTED}    inference    1%
    Output Should Equal Reference

A Board On The Cable Agrees With Published Energy
    Skip If    not $PORT or not $METER    a board and a meter: --port PORT --variable METER:NAME
    Use Platform    ${PLATFORM}
    Use Backend    serial    port=${PORT}
    Use Meter    ${METER}    site=${SITE or None}
    Run Benchmark    ${NETWORK}    repeat=100    windows=5
    Energy Should Be Measured    inference
    Energy Should Agree With    published    inference


*** Keywords ***
Measure With
    [Arguments]    ${instrument}    ${lose_samples}=0
    Use Platform    max78000
    Use Backend    analytic
    ${predicted}=    Run Benchmark    ${NETWORK}
    VAR    ${PREDICTED}    ${predicted}    scope=TEST
    ${url}=    Start Emulated Board    engine=python
    ${meter}=    Start Simulated Instrument    ${instrument}    repeat=${REPEAT}    lose_samples=${lose_samples}
    Use Backend    serial    port=${url}
    Use Meter    ${meter}
    Run Benchmark    ${NETWORK}    repeat=${REPEAT}    warmups=0
    [Teardown]    Stop Emulated Boards

The Measured Energy Is The Truth
    [Arguments]    ${instrument}
    Skip If    $PORT    the truth of a real instrument is not known
    Measure With    ${instrument}
    FOR    ${phase}    IN    weight_load    inference
        Energy Should Be Measured    ${phase}
        Energy Should Agree With    ${PREDICTED.phases["${phase}"].energy_j.mean} J    ${phase}    10%
    END
